package service

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// validateBalancer checks what only a load balancer has.
func validateBalancer(s *corev1.Service, path *field.Path) field.ErrorList {
	const only = "may only be used when `type` is 'LoadBalancer'"
	spec := &s.Spec
	balanced := spec.Type == corev1.ServiceTypeLoadBalancer
	var errs field.ErrorList
	ranges := path.Child("LoadBalancerSourceRanges") // upstream spells it so
	if !balanced && len(spec.LoadBalancerSourceRanges) > 0 {
		errs = append(errs, field.Forbidden(ranges, only))
	}
	for i, cidr := range spec.LoadBalancerSourceRanges {
		errs = append(errs, validation.IsValidCIDRForLegacyField(ranges.Index(i), strings.TrimSpace(cidr), false, nil)...)
	}
	if balanced {
		if spec.AllocateLoadBalancerNodePorts == nil {
			errs = append(errs, field.Required(path.Child("allocateLoadBalancerNodePorts"), ""))
		}
	} else if spec.AllocateLoadBalancerNodePorts != nil {
		errs = append(errs, field.Forbidden(path.Child("allocateLoadBalancerNodePorts"), only))
	}
	if spec.LoadBalancerClass != nil {
		if !balanced {
			errs = append(errs, field.Forbidden(path.Child("loadBalancerClass"), only))
		}
		for _, msg := range validation.IsQualifiedName(*spec.LoadBalancerClass) {
			if balanced {
				errs = append(errs, field.Invalid(path.Child("loadBalancerClass"), *spec.LoadBalancerClass, msg))
			}
		}
	}
	return errs
}

// validatePolicies checks the traffic policies and what hangs on them.
func validatePolicies(s *corev1.Service, path *field.Path) field.ErrorList {
	spec := &s.Spec
	var errs field.ErrorList
	policy := path.Child("externalTrafficPolicy")
	policies := sets.New(corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)
	switch {
	case !external(s) && spec.ExternalTrafficPolicy != "":
		errs = append(errs, field.Invalid(policy, spec.ExternalTrafficPolicy, "may only be set for externally-accessible services"))
	case external(s) && spec.ExternalTrafficPolicy == "":
		errs = append(errs, field.Required(policy, ""))
	case external(s) && !policies.Has(spec.ExternalTrafficPolicy):
		errs = append(errs, field.NotSupported(policy, spec.ExternalTrafficPolicy, sets.List(policies)))
	}
	if !needsHealthPort(s) && spec.HealthCheckNodePort != 0 {
		errs = append(errs, field.Invalid(path.Child("healthCheckNodePort"), spec.HealthCheckNodePort,
			"may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"))
	}
	if port := spec.HealthCheckNodePort; needsHealthPort(s) && port != 0 {
		for _, msg := range validation.IsValidPortNum(int(port)) {
			errs = append(errs, field.Invalid(path.Child("healthCheckNodePort"), port, msg))
		}
	}
	internal := path.Child("internalTrafficPolicy")
	within := sets.New(corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)
	switch {
	case spec.InternalTrafficPolicy == nil:
		if hasClusterIP(s) {
			errs = append(errs, field.Required(internal, ""))
		}
	case !within.Has(*spec.InternalTrafficPolicy):
		errs = append(errs, field.NotSupported(internal, *spec.InternalTrafficPolicy, sets.List(within)))
	}
	near := []string{corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode}
	if spec.TrafficDistribution != nil && !slices.Contains(near, *spec.TrafficDistribution) {
		errs = append(errs, field.NotSupported(path.Child("trafficDistribution"), *spec.TrafficDistribution, near))
	}
	return errs
}

// validateStatus agrees with upstream's ValidateLoadBalancerStatus.
func validateStatus(_ context.Context, s, _ *corev1.Service) field.ErrorList {
	path := field.NewPath("status", "loadBalancer", "ingress")
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		if len(s.Status.LoadBalancer.Ingress) > 0 {
			return field.ErrorList{field.Forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")}
		}
		return nil
	}
	var errs field.ErrorList
	modes := sets.New(corev1.LoadBalancerIPModeVIP, corev1.LoadBalancerIPModeProxy)
	for i, in := range s.Status.LoadBalancer.Ingress {
		at := path.Index(i)
		if in.IP != "" {
			errs = append(errs, validation.IsValidIPForLegacyField(at.Child("ip"), in.IP, true, nil)...)
		}
		if in.IPMode != nil && in.IP == "" {
			errs = append(errs, field.Forbidden(at.Child("ipMode"), "may not be specified when `ip` is not set"))
		}
		if in.IPMode != nil && !modes.Has(*in.IPMode) {
			errs = append(errs, field.NotSupported(at.Child("ipMode"), *in.IPMode, sets.List(modes)))
		}
		if in.Hostname != "" {
			for _, msg := range validation.IsDNS1123Subdomain(in.Hostname) {
				errs = append(errs, field.Invalid(at.Child("hostname"), in.Hostname, msg))
			}
			if netutils.ParseIPSloppy(in.Hostname) != nil {
				errs = append(errs, field.Invalid(at.Child("hostname"), in.Hostname, "must be a DNS name, not an IP address"))
			}
		}
	}
	return errs
}
