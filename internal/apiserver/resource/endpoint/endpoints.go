package endpoint

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
)

// Endpoints describes the kind.
func Endpoints() kind.Kind[*corev1.Endpoints] {
	return kind.Kind[*corev1.Endpoints]{
		Resource:   schema.GroupResource{Resource: "endpoints"},
		Version:    "v1",
		Singular:   "endpoints",
		ShortNames: []string{"ep"},
		Namespaced: true,
		New:        func() *corev1.Endpoints { return &corev1.Endpoints{} },
		NewList:    func() runtime.Object { return &corev1.EndpointsList{} },
		Rules: kind.Rules[*corev1.Endpoints]{
			CreateOnUpdate: true,
			Validate: func(_ context.Context, ep *corev1.Endpoints) field.ErrorList {
				return validateSubsets(ep.Subsets, field.NewPath("subsets"))
			},
		},
		Table: kind.Table[*corev1.Endpoints]{
			Columns: []metav1.TableColumnDefinition{
				kind.NameColumn(),
				kind.Column("Endpoints", corev1.Endpoints{}.SwaggerDoc()["subsets"]),
				kind.AgeColumn(),
			},
			Row: func(ep *corev1.Endpoints) []any {
				return []any{ep.Name, formatEndpoints(ep), kind.Age(ep.CreationTimestamp)}
			},
		},
	}
}

// DefaultEndpoints sets what a manifest may leave out.
func DefaultEndpoints(ep *corev1.Endpoints) {
	for i := range ep.Subsets {
		for j := range ep.Subsets[i].Ports {
			if p := &ep.Subsets[i].Ports[j]; p.Protocol == "" {
				p.Protocol = corev1.ProtocolTCP
			}
		}
	}
}

// formatEndpoints shows at most three endpoints, as upstream's formatEndpoints.
func formatEndpoints(ep *corev1.Endpoints) string {
	if len(ep.Subsets) == 0 {
		return "<none>"
	}
	const most = 3
	var list []string
	more, count := false, 0
	show := func(s string) {
		if len(list) == most {
			more = true
		}
		if !more {
			list = append(list, s)
		}
		count++
	}
	for _, set := range ep.Subsets {
		if len(set.Ports) == 0 {
			for _, a := range set.Addresses {
				show(a.IP)
			}
			continue
		}
		for _, p := range set.Ports {
			for _, a := range set.Addresses {
				show(netJoin(a.IP, p.Port))
			}
		}
	}
	text := strings.Join(list, ",")
	if more {
		return fmt.Sprintf("%s + %d more...", text, count-most)
	}
	return text
}

func netJoin(ip string, port int32) string {
	if strings.Contains(ip, ":") {
		return fmt.Sprintf("[%s]:%d", ip, port)
	}
	return fmt.Sprintf("%s:%d", ip, port)
}

// validateSubsets agrees with upstream's validateEndpointSubsets.
func validateSubsets(subsets []corev1.EndpointSubset, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range subsets {
		set, p := &subsets[i], path.Index(i)
		if len(set.Addresses) == 0 && len(set.NotReadyAddresses) == 0 {
			errs = append(errs, field.Required(p, "must specify `addresses` or `notReadyAddresses`"))
		}
		for j := range set.Addresses {
			errs = append(errs, validateAddress(&set.Addresses[j], p.Child("addresses").Index(j))...)
		}
		for j := range set.NotReadyAddresses {
			errs = append(errs, validateAddress(&set.NotReadyAddresses[j], p.Child("notReadyAddresses").Index(j))...)
		}
		for j := range set.Ports {
			errs = append(errs, validatePort(&set.Ports[j], len(set.Ports) > 1, p.Child("ports").Index(j))...)
		}
	}
	return errs
}

func validateAddress(a *corev1.EndpointAddress, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	errs = append(errs, validation.IsValidIPForLegacyField(path.Child("ip"), a.IP, true, nil)...)
	if a.Hostname != "" {
		for _, msg := range validation.IsDNS1123Label(a.Hostname) {
			errs = append(errs, field.Invalid(path.Child("hostname"), a.Hostname, msg))
		}
	}
	if a.NodeName != nil {
		for _, msg := range validation.IsDNS1123Subdomain(*a.NodeName) {
			errs = append(errs, field.Invalid(path.Child("nodeName"), *a.NodeName, msg))
		}
	}
	return append(errs, validateReachable(a.IP, path.Child("ip"))...)
}

func validatePort(p *corev1.EndpointPort, named bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if named && p.Name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	} else if p.Name != "" {
		for _, msg := range validation.IsDNS1123Label(p.Name) {
			errs = append(errs, field.Invalid(path.Child("name"), p.Name, msg))
		}
	}
	for _, msg := range validation.IsValidPortNum(int(p.Port)) {
		errs = append(errs, field.Invalid(path.Child("port"), p.Port, msg))
	}
	switch {
	case p.Protocol == "":
		errs = append(errs, field.Required(path.Child("protocol"), ""))
	case !protocols().Has(p.Protocol):
		errs = append(errs, field.NotSupported(path.Child("protocol"), p.Protocol, sets.List(protocols())))
	}
	if p.AppProtocol != nil {
		for _, msg := range validation.IsQualifiedName(*p.AppProtocol) {
			errs = append(errs, field.Invalid(path.Child("appProtocol"), *p.AppProtocol, msg))
		}
	}
	return errs
}

func protocols() sets.Set[corev1.Protocol] {
	return sets.New(corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
}
