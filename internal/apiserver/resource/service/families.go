package service

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func familyOf(addr netip.Addr) corev1.IPFamily {
	if addr.Unmap().Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

func other(f corev1.IPFamily) corev1.IPFamily {
	if f == corev1.IPv4Protocol {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

func (a *allocator) cidr(f corev1.IPFamily) (netip.Prefix, bool) {
	for _, c := range a.cidrs {
		if familyOf(c.Addr()) == f {
			return c, true
		}
	}
	return netip.Prefix{}, false
}

// defaultFamilies settles ipFamilies and ipFamilyPolicy: they depend on the
// ranges that this cluster has, so they are no defaults of the type. It agrees
// with upstream's initIPFamilyFields.
func (a *allocator) defaultFamilies(s, old *corev1.Service) error {
	if !hasClusterIP(s) {
		return nil
	}
	spec, path := &s.Spec, field.NewPath("spec")
	if errs := validateClusterIPs(s, old); len(errs) > 0 {
		return invalid(s, errs)
	}
	if old != nil && len(spec.IPFamilies) == 0 && hasClusterIP(old) && len(spec.ClusterIPs) > 0 {
		spec.IPFamilies = append([]corev1.IPFamily(nil), old.Spec.IPFamilies...)
	}
	if old != nil && spec.IPFamilyPolicy == nil && hasClusterIP(old) {
		spec.IPFamilyPolicy = old.Spec.IPFamilyPolicy
	}
	if headless(s) && len(spec.Selector) == 0 {
		a.headlessFamilies(spec)
		return nil
	}
	var errs field.ErrorList
	for i, ip := range spec.ClusterIPs {
		addr, err := netip.ParseAddr(ip)
		if err != nil || i < len(spec.IPFamilies) {
			continue // None
		}
		if _, ok := a.cidr(familyOf(addr)); !ok {
			errs = append(errs, field.Invalid(path.Child("clusterIPs").Index(i), ip, fmt.Sprintf("may not be used: %s is not configured on this cluster", familyOf(addr))))
			continue
		}
		spec.IPFamilies = append(spec.IPFamilies, familyOf(addr))
	}
	if spec.IPFamilyPolicy == nil {
		single := corev1.IPFamilyPolicySingleStack
		spec.IPFamilyPolicy = &single
	}
	if *spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack && len(a.cidrs) < 2 {
		errs = append(errs, field.Invalid(path.Child("ipFamilyPolicy"), spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	for i, f := range spec.IPFamilies {
		if _, ok := a.cidr(f); !ok {
			errs = append(errs, field.Invalid(path.Child("ipFamilies").Index(i), f, "not configured on this cluster"))
		}
	}
	if len(errs) > 0 {
		return invalid(s, errs)
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{a.primary()}
	}
	if *spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack && len(spec.IPFamilies) == 1 && len(a.cidrs) == 2 {
		spec.IPFamilies = append(spec.IPFamilies, other(spec.IPFamilies[0]))
	}
	return nil
}

// headlessFamilies: whoever writes the endpoints himself may use any family.
func (a *allocator) headlessFamilies(spec *corev1.ServiceSpec) {
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{a.primary()}
		if spec.IPFamilyPolicy == nil || *spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack {
			spec.IPFamilies = append(spec.IPFamilies, other(a.primary()))
		}
	}
	if spec.IPFamilyPolicy == nil {
		policy := corev1.IPFamilyPolicySingleStack
		if len(spec.IPFamilies) == 2 {
			policy = corev1.IPFamilyPolicyRequireDualStack
		}
		spec.IPFamilyPolicy = &policy
	}
}

func (a *allocator) primary() corev1.IPFamily {
	if len(a.cidrs) == 0 {
		return corev1.IPv4Protocol
	}
	return familyOf(a.cidrs[0].Addr())
}

func invalid(s *corev1.Service, errs field.ErrorList) error {
	return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), s.Name, errs)
}
