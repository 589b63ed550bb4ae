package service

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"

	"skiff.dev/skiff/internal/apiserver/resource/kind"
)

// Options are the ranges to allocate from.
type Options struct {
	// CIDRs are one range of cluster addresses per IP family, the primary
	// family first.
	CIDRs []netip.Prefix
	// NodePorts is the range of node ports; the zero value means 30000-32767.
	NodePorts PortRange
}

// Kind describes Service.
func Kind() kind.Kind[*corev1.Service] {
	return kind.Kind[*corev1.Service]{
		Resource:   schema.GroupResource{Resource: "services"},
		Version:    "v1",
		Singular:   "service",
		ShortNames: []string{"svc"},
		Categories: []string{"all"},
		Namespaced: true,
		New:        func() *corev1.Service { return &corev1.Service{} },
		NewList:    func() runtime.Object { return &corev1.ServiceList{} },
		Fields: func(s *corev1.Service) fields.Set {
			return fields.Set{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
		},
		Status: &kind.Rules[*corev1.Service]{},
	}
}

func Default(s *corev1.Service) {}

func Storages(scheme *runtime.Scheme, getter generic.RESTOptionsGetter, o Options) (*kind.Store, *kind.Subresource, error) {
	k := Kind()
	store, err := k.Store(scheme, getter)
	if err != nil {
		return nil, nil, err
	}
	return store, k.StatusREST(scheme, store), nil
}
