package service

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// kubeletPort may not be exposed by load balancers: nodes answer on it.
const kubeletPort = 10250

func validate(_ context.Context, s *corev1.Service) field.ErrorList { return validateSpec(s, nil) }

// validateUpdate agrees with upstream's ValidateServiceUpdate.
func validateUpdate(_ context.Context, s, old *corev1.Service) field.ErrorList {
	errs := validateSpec(s, old)
	path := field.NewPath("spec")
	if hasClusterIP(s) && hasClusterIP(old) && len(old.Spec.ClusterIPs) > 0 {
		switch {
		case len(s.Spec.ClusterIPs) == 0:
			errs = append(errs, field.Invalid(path.Child("clusterIPs").Index(0), s.Spec.ClusterIPs, "primary clusterIP can not be unset"))
		case s.Spec.ClusterIPs[0] != old.Spec.ClusterIPs[0]:
			errs = append(errs, field.Invalid(path.Child("clusterIPs").Index(0), s.Spec.ClusterIPs, "may not change once set"))
		}
	}
	if needsHealthPort(s) && needsHealthPort(old) && s.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
		errs = append(errs, field.Forbidden(path.Child("healthCheckNodePort"), "field is immutable"))
	}
	balanced := s.Spec.Type == corev1.ServiceTypeLoadBalancer && old.Spec.Type == corev1.ServiceTypeLoadBalancer
	if balanced && !same(s.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass) {
		errs = append(errs, field.Invalid(path.Child("loadBalancerClass"), s.Spec.LoadBalancerClass, "may not change once set"))
	}
	return errs
}

// validateSpec agrees with upstream's ValidateService.
func validateSpec(s, old *corev1.Service) field.ErrorList {
	path := field.NewPath("spec")
	spec := &s.Spec
	var errs field.ErrorList
	if len(spec.Ports) == 0 && !headless(s) && spec.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(path.Child("ports"), ""))
	}
	errs = append(errs, validateType(s, path)...)
	errs = append(errs, validatePorts(s, path.Child("ports"))...)
	if spec.Selector != nil {
		errs = append(errs, metavalidation.ValidateLabels(spec.Selector, path.Child("selector"))...)
	}
	errs = append(errs, validateAffinity(spec, path)...)
	errs = append(errs, validateClusterIPs(s, old)...)
	for i, ip := range spec.ExternalIPs {
		at := path.Child("externalIPs").Index(i)
		if more := validation.IsValidIPForLegacyField(at, ip, true, nil); len(more) > 0 {
			errs = append(errs, more...)
			continue
		}
		errs = append(errs, validateOrdinary(ip, at)...)
	}
	errs = append(errs, validateBalancer(s, path)...)
	return append(errs, validatePolicies(s, path)...)
}

func serviceTypes() sets.Set[corev1.ServiceType] {
	return sets.New(corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName)
}

func validateType(s *corev1.Service, path *field.Path) field.ErrorList {
	spec := &s.Spec
	var errs field.ErrorList
	switch spec.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		if headless(s) {
			errs = append(errs, field.Invalid(path.Child("clusterIPs").Index(0), corev1.ClusterIPNone, fmt.Sprintf("may not be set to 'None' for %s services", spec.Type)))
		}
	case corev1.ServiceTypeExternalName:
		if len(spec.ClusterIPs) > 0 || spec.ClusterIP != "" {
			errs = append(errs, field.Forbidden(path.Child("clusterIPs"), "may not be set for ExternalName services"))
		}
		if spec.ExternalName == "" {
			errs = append(errs, field.Required(path.Child("externalName"), ""))
			break
		}
		// A name may end with the dot of the root.
		for _, msg := range validation.IsDNS1123Subdomain(strings.TrimSuffix(spec.ExternalName, ".")) {
			errs = append(errs, field.Invalid(path.Child("externalName"), spec.ExternalName, msg))
		}
	case corev1.ServiceTypeClusterIP:
	case "":
		errs = append(errs, field.Required(path.Child("type"), ""))
	default:
		errs = append(errs, field.NotSupported(path.Child("type"), spec.Type, sets.List(serviceTypes())))
	}
	return errs
}

func validatePorts(s *corev1.Service, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names, nodePorts, seen := sets.New[string](), sets.New[string](), sets.New[string]()
	for i := range s.Spec.Ports {
		p, at := &s.Spec.Ports[i], path.Index(i)
		errs = append(errs, validatePort(p, len(s.Spec.Ports) > 1, names, at)...)
		if s.Spec.Type == corev1.ServiceTypeLoadBalancer && p.Port == kubeletPort {
			errs = append(errs, field.Invalid(at, p.Port, fmt.Sprintf("may not expose port %v externally since it is used by kubelet", kubeletPort)))
		}
		if p.NodePort != 0 {
			if s.Spec.Type == corev1.ServiceTypeClusterIP {
				errs = append(errs, field.Forbidden(at.Child("nodePort"), "may not be used when `type` is 'ClusterIP'"))
			}
			key := fmt.Sprintf("%s/%d", p.Protocol, p.NodePort)
			if nodePorts.Has(key) {
				errs = append(errs, field.Duplicate(at.Child("nodePort"), p.NodePort))
			}
			nodePorts.Insert(key)
		}
		key := fmt.Sprintf("%s/%d", p.Protocol, p.Port)
		if seen.Has(key) {
			errs = append(errs, field.Duplicate(at, corev1.ServicePort{Protocol: p.Protocol, Port: p.Port}))
		}
		seen.Insert(key)
	}
	return errs
}

func validatePort(p *corev1.ServicePort, named bool, names sets.Set[string], path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case named && p.Name == "":
		errs = append(errs, field.Required(path.Child("name"), ""))
	case p.Name != "":
		for _, msg := range validation.IsDNS1123Label(p.Name) {
			errs = append(errs, field.Invalid(path.Child("name"), p.Name, msg))
		}
		if names.Has(p.Name) {
			errs = append(errs, field.Duplicate(path.Child("name"), p.Name))
		}
		names.Insert(p.Name)
	}
	for _, msg := range validation.IsValidPortNum(int(p.Port)) {
		errs = append(errs, field.Invalid(path.Child("port"), p.Port, msg))
	}
	protocols := sets.New(corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
	switch {
	case p.Protocol == "":
		errs = append(errs, field.Required(path.Child("protocol"), ""))
	case !protocols.Has(p.Protocol):
		errs = append(errs, field.NotSupported(path.Child("protocol"), p.Protocol, sets.List(protocols)))
	}
	target := path.Child("targetPort")
	if p.TargetPort.Type == intstr.Int {
		for _, msg := range validation.IsValidPortNum(p.TargetPort.IntValue()) {
			errs = append(errs, field.Invalid(target, p.TargetPort, msg))
		}
	} else {
		for _, msg := range validation.IsValidPortName(p.TargetPort.StrVal) {
			errs = append(errs, field.Invalid(target, p.TargetPort, msg))
		}
	}
	if p.AppProtocol != nil {
		for _, msg := range validation.IsQualifiedName(*p.AppProtocol) {
			errs = append(errs, field.Invalid(path.Child("appProtocol"), *p.AppProtocol, msg))
		}
	}
	return errs
}

func validateAffinity(spec *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	config := path.Child("sessionAffinityConfig")
	switch spec.SessionAffinity {
	case "":
		return field.ErrorList{field.Required(path.Child("sessionAffinity"), "")}
	case corev1.ServiceAffinityNone:
		if spec.SessionAffinityConfig != nil {
			return field.ErrorList{field.Forbidden(config, fmt.Sprintf("must not be set when session affinity is %s", corev1.ServiceAffinityNone))}
		}
	case corev1.ServiceAffinityClientIP:
		c := spec.SessionAffinityConfig
		when := fmt.Sprintf("when session affinity type is %s", corev1.ServiceAffinityClientIP)
		switch {
		case c == nil:
			return field.ErrorList{field.Required(config, when)}
		case c.ClientIP == nil:
			return field.ErrorList{field.Required(config.Child("clientIP"), when)}
		case c.ClientIP.TimeoutSeconds == nil:
			return field.ErrorList{field.Required(config.Child("clientIP").Child("timeoutSeconds"), when)}
		}
		if t := *c.ClientIP.TimeoutSeconds; t <= 0 || t > 86400 {
			return field.ErrorList{field.Invalid(config.Child("clientIP").Child("timeoutSeconds"), t, fmt.Sprintf("must be greater than 0 and less than %d", 86400))}
		}
	default:
		return field.ErrorList{field.NotSupported(path.Child("sessionAffinity"), spec.SessionAffinity, []corev1.ServiceAffinity{corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone})}
	}
	return nil
}

// validateClusterIPs agrees with upstream's ValidateServiceClusterIPsRelatedFields.
func validateClusterIPs(s, _ *corev1.Service) field.ErrorList {
	path := field.NewPath("spec")
	spec := &s.Spec
	ips, families, policy := path.Child("clusterIPs"), path.Child("ipFamilies"), path.Child("ipFamilyPolicy")
	var errs field.ErrorList
	if !hasClusterIP(s) {
		if len(spec.IPFamilies) > 0 {
			errs = append(errs, field.Forbidden(families, "may not be set for ExternalName services"))
		}
		if spec.IPFamilyPolicy != nil {
			errs = append(errs, field.Forbidden(policy, "may not be set for ExternalName services"))
		}
		return errs
	}
	if len(spec.ClusterIPs) > 0 && spec.ClusterIPs[0] != spec.ClusterIP {
		errs = append(errs, field.Invalid(ips, spec.ClusterIPs, "first value must match `clusterIP`"))
	}
	errs = append(errs, validateFamilies(spec, families, policy)...)
	if len(spec.ClusterIPs) > 2 {
		errs = append(errs, field.Invalid(ips, spec.ClusterIPs, "may only hold up to 2 values"))
	}
	for i, ip := range spec.ClusterIPs {
		if ip == corev1.ClusterIPNone {
			if len(spec.ClusterIPs) > 1 {
				errs = append(errs, field.Invalid(ips, spec.ClusterIPs, "'None' must be the first and only value"))
			}
			continue
		}
		if more := validation.IsValidIPForLegacyField(ips.Index(i), ip, true, nil); len(more) > 0 {
			errs = append(errs, more...)
			continue
		}
		addr, err := netip.ParseAddr(ip)
		if err == nil && i < len(spec.IPFamilies) && familyOf(addr) != spec.IPFamilies[i] {
			errs = append(errs, field.Invalid(ips.Index(i), ip, fmt.Sprintf("expected an %v value as indicated by `ipFamilies[%v]`", spec.IPFamilies[i], i)))
		}
	}
	return errs
}

func validateFamilies(spec *corev1.ServiceSpec, families, policy *field.Path) field.ErrorList {
	var errs field.ErrorList
	valid := sets.New(corev1.IPv4Protocol, corev1.IPv6Protocol)
	seen := sets.New[corev1.IPFamily]()
	for i, f := range spec.IPFamilies {
		if !valid.Has(f) {
			errs = append(errs, field.NotSupported(families.Index(i), f, sets.List(valid)))
		}
		if seen.Has(f) {
			errs = append(errs, field.Duplicate(families.Index(i), f))
		}
		seen.Insert(f)
	}
	policies := sets.New(corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack)
	if spec.IPFamilyPolicy != nil && !policies.Has(*spec.IPFamilyPolicy) {
		errs = append(errs, field.NotSupported(policy, *spec.IPFamilyPolicy, sets.List(policies)))
	}
	if spec.IPFamilyPolicy == nil || *spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack {
		if len(spec.ClusterIPs) > 1 {
			errs = append(errs, field.Required(policy, "must be RequireDualStack or PreferDualStack when multiple 'clusterIPs' are specified"))
		}
		if len(spec.IPFamilies) > 1 {
			errs = append(errs, field.Required(policy, "must be RequireDualStack or PreferDualStack when multiple 'ipFamilies' are specified"))
		}
	}
	return errs
}

// validateOrdinary refuses addresses that mean the node or nobody.
func validateOrdinary(ip string, path *field.Path) field.ErrorList {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return nil
	}
	var errs field.ErrorList
	for _, c := range []struct {
		wrong bool
		msg   string
	}{
		{addr.IsUnspecified(), "may not be unspecified (" + ip + ")"},
		{addr.IsLoopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"},
		{addr.IsLinkLocalUnicast(), "may not be in the link-local range (169.254.0.0/16, fe80::/10)"},
		{addr.IsLinkLocalMulticast(), "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"},
	} {
		if c.wrong {
			errs = append(errs, field.Invalid(path, ip, c.msg))
		}
	}
	return errs
}
