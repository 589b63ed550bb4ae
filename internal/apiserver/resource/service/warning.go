package service

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// warnings agrees with upstream's GetWarningsForService: what is accepted and
// does nothing, or will not be for ever.
func warnings(s *corev1.Service) []string {
	path := field.NewPath("spec")
	spec := &s.Spec
	var list []string
	say := func(when bool, format string, args ...any) {
		if when {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	_, hints := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	say(hints, "annotation %s is deprecated, please use %s instead", corev1.DeprecatedAnnotationTopologyAwareHints, corev1.AnnotationTopologyMode)
	none := spec.Type == corev1.ServiceTypeClusterIP && spec.ClusterIP == corev1.ClusterIPNone
	name := spec.Type == corev1.ServiceTypeExternalName
	if spec.ClusterIP != "" && spec.ClusterIP != corev1.ClusterIPNone {
		list = append(list, addressWarnings(spec.ClusterIPs, path.Child("clusterIPs"))...)
	}
	say(none && spec.LoadBalancerIP != "", "spec.loadBalancerIP is ignored for headless services")
	say(none && len(spec.ExternalIPs) > 0, "spec.externalIPs is ignored for headless services")
	say(none && spec.SessionAffinity != corev1.ServiceAffinityNone, "spec.SessionAffinity is ignored for headless services")
	list = append(list, addressWarnings(spec.ExternalIPs, path.Child("externalIPs"))...)
	say(len(spec.ExternalIPs) > 0 && !none && !name, "spec.externalIPs is deprecated and may no longer be implemented in some clusters")
	if spec.LoadBalancerIP != "" {
		list = append(list, validation.GetWarningsForIP(path.Child("loadBalancerIP"), spec.LoadBalancerIP)...)
	}
	for i, cidr := range spec.LoadBalancerSourceRanges {
		list = append(list, validation.GetWarningsForCIDR(path.Child("loadBalancerSourceRanges").Index(i), cidr)...)
	}
	say(name && len(spec.ExternalIPs) > 0, "spec.externalIPs is ignored when spec.type is %q", corev1.ServiceTypeExternalName)
	say(!name && spec.ExternalName != "", "spec.externalName is ignored when spec.type is not %q", corev1.ServiceTypeExternalName)
	say(spec.TrafficDistribution != nil && *spec.TrafficDistribution == corev1.ServiceTrafficDistributionPreferClose,
		"spec.trafficDistribution: %q is deprecated; use %q", corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone)
	return list
}

func addressWarnings(ips []string, path *field.Path) []string {
	var list []string
	for i, ip := range ips {
		list = append(list, validation.GetWarningsForIP(path.Index(i), ip)...)
	}
	return list
}
