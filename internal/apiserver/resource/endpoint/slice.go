package endpoint

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
)

// Slice describes EndpointSlice.
func Slice() kind.Kind[*discoveryv1.EndpointSlice] {
	return kind.Kind[*discoveryv1.EndpointSlice]{
		Resource:   schema.GroupResource{Group: discoveryv1.GroupName, Resource: "endpointslices"},
		Version:    "v1",
		Singular:   "endpointslice",
		Namespaced: true,
		New:        func() *discoveryv1.EndpointSlice { return &discoveryv1.EndpointSlice{} },
		NewList:    func() runtime.Object { return &discoveryv1.EndpointSliceList{} },
		Rules: kind.Rules[*discoveryv1.EndpointSlice]{
			PrepareForCreate: func(_ context.Context, s *discoveryv1.EndpointSlice) { s.Generation = 1; dropTopology(s) },
			PrepareForUpdate: prepareSliceUpdate,
			Validate:         validateSlice,
			ValidateUpdate:   validateSliceUpdate,
			Warn: func(_ context.Context, s, old *discoveryv1.EndpointSlice) []string {
				return sliceWarnings(s, old == nil)
			},
		},
		Table: kind.Table[*discoveryv1.EndpointSlice]{
			Columns: []metav1.TableColumnDefinition{
				kind.NameColumn(),
				kind.Column("AddressType", discoveryv1.EndpointSlice{}.SwaggerDoc()["addressType"]),
				kind.Column("Ports", discoveryv1.EndpointSlice{}.SwaggerDoc()["ports"]),
				kind.Column("Endpoints", discoveryv1.EndpointSlice{}.SwaggerDoc()["endpoints"]),
				kind.AgeColumn(),
			},
			Row: func(s *discoveryv1.EndpointSlice) []any {
				return []any{s.Name, string(s.AddressType), formatPorts(s.Ports), formatSlice(s.Endpoints), kind.Age(s.CreationTimestamp)}
			},
		},
	}
}

// DefaultSlice sets what a manifest may leave out.
func DefaultSlice(s *discoveryv1.EndpointSlice) {
	for i := range s.Ports {
		p := &s.Ports[i]
		if p.Name == nil {
			p.Name = new(string)
		}
		if p.Protocol == nil {
			tcp := corev1.ProtocolTCP
			p.Protocol = &tcp
		}
	}
}

// prepareSliceUpdate bumps the generation when anything but metadata changed;
// labels count, since consumers find slices by them.
func prepareSliceUpdate(_ context.Context, s, old *discoveryv1.EndpointSlice) {
	dropTopology(s)
	a, b := *s, *old
	a.ObjectMeta, b.ObjectMeta = metav1.ObjectMeta{}, metav1.ObjectMeta{}
	a.TypeMeta, b.TypeMeta = metav1.TypeMeta{}, metav1.TypeMeta{}
	s.Generation = old.Generation
	if !equality.Semantic.DeepEqual(a, b) || !equality.Semantic.DeepEqual(s.Labels, old.Labels) {
		s.Generation++
	}
}

// dropTopology drops what only v1beta1 could set (KEP-2086).
func dropTopology(s *discoveryv1.EndpointSlice) {
	for i := range s.Endpoints {
		s.Endpoints[i].DeprecatedTopology = nil
	}
}

func sliceWarnings(s *discoveryv1.EndpointSlice, created bool) []string {
	var list []string
	if created && s.AddressType == discoveryv1.AddressTypeFQDN {
		list = append(list, field.NewPath("spec", "addressType").String()+": FQDN endpoints are deprecated")
	}
	if s.AddressType == discoveryv1.AddressTypeFQDN {
		return list
	}
	for i, e := range s.Endpoints {
		for j, a := range e.Addresses {
			list = append(list, validation.GetWarningsForIP(field.NewPath("endpoints").Index(i).Child("addresses").Index(j), a)...)
		}
	}
	return list
}

// formatPorts agrees with upstream's formatDiscoveryPorts.
func formatPorts(ports []discoveryv1.EndpointPort) string {
	var list []string
	for _, p := range ports {
		switch {
		case p.Port != nil:
			list = append(list, fmt.Sprint(*p.Port))
		case p.Name != nil && *p.Name != "":
			list = append(list, *p.Name)
		default:
			list = append(list, "*")
		}
	}
	return firstThree(list, "<unset>")
}

func formatSlice(endpoints []discoveryv1.Endpoint) string {
	var list []string
	for _, e := range endpoints {
		list = append(list, e.Addresses...)
	}
	return firstThree(list, "<unset>")
}

func firstThree(list []string, none string) string {
	const most = 3
	switch {
	case len(list) == 0:
		return none
	case len(list) > most:
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:most], ","), len(list)-most)
	}
	return strings.Join(list, ",")
}
