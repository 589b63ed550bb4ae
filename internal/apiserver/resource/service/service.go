package service

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/registry/generic"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
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
		Rules: kind.Rules[*corev1.Service]{
			Name: validation.NameIsDNSLabel, // since KEP-5311; a DNS-1035 label before
			PrepareForCreate: func(_ context.Context, s *corev1.Service) {
				s.Status = corev1.ServiceStatus{}
			},
			PrepareForUpdate: func(_ context.Context, s, old *corev1.Service) {
				s.Status = old.Status
			},
			Validate:       validate,
			ValidateUpdate: validateUpdate,
			Warn:           func(_ context.Context, s, _ *corev1.Service) []string { return warnings(s) },
			Reset:          []fieldpath.Path{fieldpath.MakePathOrDie("status")},
		},
		Status: &kind.Rules[*corev1.Service]{
			PrepareForUpdate: func(_ context.Context, s, old *corev1.Service) { s.Spec = old.Spec },
			ValidateUpdate:   validateStatus,
			Reset:            []fieldpath.Path{fieldpath.MakePathOrDie("spec")},
		},
		Table: kind.Table[*corev1.Service]{
			Columns: []metav1.TableColumnDefinition{
				kind.NameColumn(),
				kind.Column("Type", corev1.ServiceSpec{}.SwaggerDoc()["type"]),
				kind.Column("Cluster-IP", corev1.ServiceSpec{}.SwaggerDoc()["clusterIP"]),
				kind.Column("External-IP", corev1.ServiceSpec{}.SwaggerDoc()["externalIPs"]),
				kind.Column("Port(s)", corev1.ServiceSpec{}.SwaggerDoc()["ports"]),
				kind.AgeColumn(),
				kind.Wide(kind.Column("Selector", corev1.ServiceSpec{}.SwaggerDoc()["selector"])),
			},
			Row: row,
		},
	}
}

// Storages makes the services' storage and its status.
func Storages(scheme *runtime.Scheme, getter generic.RESTOptionsGetter, o Options) (*REST, *kind.Subresource, error) {
	k := Kind()
	store, err := k.Store(scheme, getter)
	if err != nil {
		return nil, nil, err
	}
	claims, err := newClaims(scheme, getter, store)
	if err != nil {
		return nil, nil, err
	}
	if o.NodePorts == (PortRange{}) {
		o.NodePorts = PortRange{First: 30000, Last: 32767}
	}
	alloc := &allocator{claims: claims, cidrs: o.CIDRs, ports: o.NodePorts}
	status := k.StatusREST(scheme, store) // over a copy that does not allocate
	store.BeginCreate = alloc.beginCreate
	store.BeginUpdate = alloc.beginUpdate
	store.AfterDelete = alloc.afterDelete
	return &REST{store, claims}, status, nil
}

// REST is the storage of services and of their claims.
type REST struct {
	*kind.Store
	claims *claims
}

// Destroy implements rest.Storage.
func (r *REST) Destroy() {
	r.Store.Destroy()
	r.claims.store.Destroy()
}

// row agrees with upstream's printService.
func row(s *corev1.Service) []any {
	clusterIP := "<none>"
	if len(s.Spec.ClusterIPs) > 0 {
		clusterIP = s.Spec.ClusterIPs[0]
	}
	ports := formatPorts(s.Spec.Ports)
	if ports == "" {
		ports = "<none>"
	}
	return []any{
		s.Name, string(s.Spec.Type), clusterIP, externalIP(s), ports, kind.Age(s.CreationTimestamp),
		labels.FormatLabels(s.Spec.Selector),
	}
}

func formatPorts(ports []corev1.ServicePort) string {
	var list []string
	for _, p := range ports {
		text := fmt.Sprintf("%d/%s", p.Port, p.Protocol)
		if p.NodePort > 0 {
			text = fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol)
		}
		list = append(list, text)
	}
	return strings.Join(list, ",")
}

func externalIP(s *corev1.Service) string {
	switch s.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
		if len(s.Spec.ExternalIPs) > 0 {
			return strings.Join(s.Spec.ExternalIPs, ",")
		}
		return "<none>"
	case corev1.ServiceTypeLoadBalancer:
		balancers := sets.New[string]()
		for _, in := range s.Status.LoadBalancer.Ingress {
			if in.IP != "" {
				balancers.Insert(in.IP)
			} else if in.Hostname != "" {
				balancers.Insert(in.Hostname)
			}
		}
		list := append(sets.List(balancers), s.Spec.ExternalIPs...)
		if len(list) > 0 {
			return strings.Join(list, ",")
		}
		return "<pending>"
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	}
	return "<unknown>"
}
