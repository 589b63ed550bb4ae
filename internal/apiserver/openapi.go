package apiserver

import (
	"k8s.io/apimachinery/pkg/runtime"
	apiopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	openapicommon "k8s.io/kube-openapi/pkg/common"

	"skiff.dev/skiff/internal/apiserver/openapi"
)

func openAPIConfigs(scheme *runtime.Scheme) (*openapicommon.Config, *openapicommon.OpenAPIV3Config) {
	namer := apiopenapi.NewDefinitionNamer(scheme)
	v2 := genericapiserver.DefaultOpenAPIConfig(openapi.GetOpenAPIDefinitions, namer)
	v2.Info.Title = "Kubernetes"
	v3 := genericapiserver.DefaultOpenAPIV3Config(openapi.GetOpenAPIDefinitions, namer)
	v3.Info.Title = "Kubernetes"
	return v2, v3
}
