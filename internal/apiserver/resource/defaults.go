package resource

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"go.skiff.dev/skiff/internal/apiserver/resource/apps"
	"go.skiff.dev/skiff/internal/apiserver/resource/config"
	"go.skiff.dev/skiff/internal/apiserver/resource/endpoint"
	"go.skiff.dev/skiff/internal/apiserver/resource/namespace"
	"go.skiff.dev/skiff/internal/apiserver/resource/node"
	"go.skiff.dev/skiff/internal/apiserver/resource/podspec"
	"go.skiff.dev/skiff/internal/apiserver/resource/service"
	"go.skiff.dev/skiff/internal/apiserver/resource/serviceaccount"
)

// addDefaults registers what is set when an object is decoded and leaves a
// field out. Lists are decoded from the store as well, so each has its own.
func addDefaults(scheme *runtime.Scheme) {
	def(scheme, podspec.DefaultPod)
	defList(scheme, func(l *corev1.PodList) []corev1.Pod { return l.Items }, podspec.DefaultPod)
	def(scheme, func(t *corev1.PodTemplate) { podspec.DefaultTemplate(&t.Template) })
	def(scheme, config.DefaultSecret)
	defList(scheme, func(l *corev1.SecretList) []corev1.Secret { return l.Items }, config.DefaultSecret)
	def(scheme, namespace.Default)
	defList(scheme, func(l *corev1.NamespaceList) []corev1.Namespace { return l.Items }, namespace.Default)
	def(scheme, node.Default)
	defList(scheme, func(l *corev1.NodeList) []corev1.Node { return l.Items }, node.Default)
	def(scheme, node.DefaultClass)
	defList(scheme, func(l *nodev1.RuntimeClassList) []nodev1.RuntimeClass { return l.Items }, node.DefaultClass)
	def(scheme, service.Default)
	defList(scheme, func(l *corev1.ServiceList) []corev1.Service { return l.Items }, service.Default)
	def(scheme, endpoint.DefaultEndpoints)
	defList(scheme, func(l *corev1.EndpointsList) []corev1.Endpoints { return l.Items }, endpoint.DefaultEndpoints)
	def(scheme, endpoint.DefaultSlice)
	defList(scheme, func(l *discoveryv1.EndpointSliceList) []discoveryv1.EndpointSlice { return l.Items }, endpoint.DefaultSlice)
	def(scheme, deployment)
	defList(scheme, func(l *appsv1.DeploymentList) []appsv1.Deployment { return l.Items }, deployment)
	def(scheme, replicaSet)
	defList(scheme, func(l *appsv1.ReplicaSetList) []appsv1.ReplicaSet { return l.Items }, replicaSet)
	def(scheme, serviceaccount.DefaultTokenRequest)
}

func deployment(d *appsv1.Deployment) {
	apps.DefaultDeployment(d)
	podspec.DefaultTemplate(&d.Spec.Template)
}

func replicaSet(rs *appsv1.ReplicaSet) {
	apps.DefaultReplicaSet(rs)
	podspec.DefaultTemplate(&rs.Spec.Template)
}

// object is a pointer to a type that is an API object.
type object[T any] interface {
	*T
	runtime.Object
}

func def[T any, P object[T]](scheme *runtime.Scheme, set func(P)) {
	scheme.AddTypeDefaultingFunc(P(new(T)), func(obj any) { set(obj.(P)) })
}

func defList[L, T any, PL object[L], P object[T]](scheme *runtime.Scheme, items func(PL) []T, set func(P)) {
	scheme.AddTypeDefaultingFunc(PL(new(L)), func(obj any) {
		list := items(obj.(PL))
		for i := range list {
			set(&list[i])
		}
	})
}
