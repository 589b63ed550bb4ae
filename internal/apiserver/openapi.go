package apiserver

import (
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/emicklei/go-restful/v3"
	"k8s.io/apimachinery/pkg/runtime"
	apiopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/cached"
	openapicommon "k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"go.skiff.dev/skiff/internal/apiserver/openapi"
)

// openAPIConfigs says how the schemas are made.
func openAPIConfigs(scheme *runtime.Scheme) (*openapicommon.Config, *openapicommon.OpenAPIV3Config) {
	namer := apiopenapi.NewDefinitionNamer(servedOnly(scheme))
	v2 := genericapiserver.DefaultOpenAPIConfig(openapi.GetOpenAPIDefinitions, namer)
	v2.Info.Title = "Kubernetes"
	v3 := genericapiserver.DefaultOpenAPIV3Config(openapi.GetOpenAPIDefinitions, namer)
	v3.Info.Title = "Kubernetes"
	return v2, v3
}

// servedOnly is the scheme without the kinds' registration as __internal, which
// no schema may name.
func servedOnly(scheme *runtime.Scheme) *runtime.Scheme {
	served := runtime.NewScheme()
	for gvk := range scheme.AllKnownTypes() {
		if gvk.Version == runtime.APIVersionInternal {
			continue
		}
		if obj, err := scheme.New(gvk); err == nil {
			served.AddKnownTypeWithName(gvk, obj)
		}
	}
	return served
}

// schemas serves /openapi/v2 and /openapi/v3. The documents of all groups take
// a tenth of a second and twenty megabytes to make, and many clusters are never
// asked for them: each is made when it is first asked for, and only its encoded
// form is kept.
type schemas struct {
	mu       sync.Mutex
	tidy     *time.Timer
	services []*restful.WebService
	v2       *openapicommon.Config
	v3       *openapicommon.OpenAPIV3Config
}

// installSchemas adds the two paths. It comes after all groups.
func installSchemas(server *genericapiserver.GenericAPIServer, cfg *genericapiserver.Config) error {
	s := &schemas{services: server.Handler.GoRestfulContainer.RegisteredWebServices(), v2: cfg.OpenAPIConfig, v3: cfg.OpenAPIV3Config}
	// From here on the definitions are made anew for each document.
	s.v3.Definitions = nil
	mux := server.Handler.NonGoRestfulMux
	handler.NewOpenAPIServiceLazy(once(s, s.makeV2)).RegisterOpenAPIVersionedService("/openapi/v2", mux)
	service := handler3.NewOpenAPIService()
	for _, ws := range s.services {
		path := strings.TrimPrefix(ws.RootPath(), "/")
		service.UpdateGroupVersionLazy(path, once(s, func() (*spec3.OpenAPI, error) { return s.makeV3(path, ws) }))
	}
	if err := service.RegisterOpenAPIV3VersionedService("/openapi/v3", mux); err != nil {
		return fmt.Errorf("serving the schemas: %w", err)
	}
	return nil
}

// once makes a document for the first caller, who encodes it, and afterwards
// only says that it has not changed.
func once[T any](s *schemas, build func() (T, error)) cached.Value[T] {
	made := false
	return cached.Func(func() (T, string, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		var doc T
		if made {
			return doc, "made", nil
		}
		doc, err := build()
		made = err == nil
		s.tidyUp()
		return doc, "made", err
	})
}

// tidyDelay lets the other documents of the same client be made first.
const tidyDelay = 2 * time.Second

// tidyUp gives the memory that the making took back to the system, some seconds
// after the last one: left alone it would stay for minutes.
func (s *schemas) tidyUp() {
	if s.tidy == nil {
		s.tidy = time.AfterFunc(tidyDelay, debug.FreeOSMemory)
		return
	}
	s.tidy.Reset(tidyDelay)
}

func (s *schemas) makeV2() (*spec.Swagger, error) {
	doc, err := builder.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices(s.services), s.v2)
	if err != nil {
		return nil, fmt.Errorf("making the schemas of version 2: %w", err)
	}
	doc.Definitions = handler.PruneDefaults(doc.Definitions)
	return doc, nil
}

func (s *schemas) makeV3(path string, ws *restful.WebService) (*spec3.OpenAPI, error) {
	doc, err := builder3.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices([]*restful.WebService{ws}), s.v3)
	if err != nil {
		return nil, fmt.Errorf("making the schemas of %s: %w", path, err)
	}
	keepOwnGroup(doc, path)
	return doc, nil
}

// keepOwnGroup drops the other groups from the kinds that are registered in
// every group, as upstream does in each group's document.
func keepOwnGroup(doc *spec3.OpenAPI, path string) {
	parts := strings.Split(path, "/")
	var group, version string
	switch {
	case len(parts) == 2 && parts[0] == "api":
		version = parts[1]
	case len(parts) == 3 && parts[0] == "apis":
		group, version = parts[1], parts[2]
	default:
		return
	}
	if doc.Components == nil {
		return
	}
	for _, schema := range doc.Components.Schemas {
		kinds, ok := schema.Extensions["x-kubernetes-group-version-kind"].([]any)
		if !ok || len(kinds) < 2 {
			continue
		}
		var kept []any
		shared := false
		for _, k := range kinds {
			gvk, ok := k.(map[string]any)
			if !ok {
				continue
			}
			shared = shared || gvk["kind"] == "DeleteOptions" || gvk["kind"] == "WatchEvent"
			if gvk["group"] == group && gvk["version"] == version || gvk["group"] == "" && gvk["version"] == "v1" {
				kept = append(kept, k)
			}
		}
		if shared && len(kept) > 0 {
			schema.Extensions["x-kubernetes-group-version-kind"] = kept
		}
	}
}
