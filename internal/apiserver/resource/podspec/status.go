package podspec

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ValidateStatusUpdate agrees with upstream's ValidatePodStatusUpdate.
func ValidateStatusUpdate(pod, old *corev1.Pod) field.ErrorList {
	path := field.NewPath("status")
	s, was := &pod.Status, &old.Status
	var errs field.ErrorList
	errs = append(errs, validateConditions(s.Conditions, path.Child("conditions"))...)
	if s.QOSClass != was.QOSClass && was.QOSClass != "" {
		errs = append(errs, apivalidation.ValidateImmutableField(s.QOSClass, was.QOSClass, path.Child("qosClass"))...)
	}
	if s.NominatedNodeName != "" {
		if old.Spec.NodeName != "" && s.NominatedNodeName != was.NominatedNodeName {
			errs = append(errs, field.Forbidden(path.Child("nominatedNodeName"), "may not be set on pods that are already bound to a node"))
		}
		errs = append(errs, messages(path.Child("nominatedNodeName"), s.NominatedNodeName, validation.IsDNS1123Subdomain(s.NominatedNodeName))...)
	}
	errs = append(errs, validateTransitions(s.ContainerStatuses, was.ContainerStatuses, path.Child("containerStatuses"), old.Spec.RestartPolicy, pod.Spec.Containers)...)
	errs = append(errs, validateTransitions(s.InitContainerStatuses, was.InitContainerStatuses, path.Child("initContainerStatuses"), old.Spec.RestartPolicy, pod.Spec.InitContainers)...)
	var pods, hosts []string
	for _, ip := range s.PodIPs {
		pods = append(pods, ip.IP)
	}
	for _, ip := range s.HostIPs {
		hosts = append(hosts, ip.IP)
	}
	errs = append(errs, validateIPs(pods, path.Child("podIPs"))...)
	errs = append(errs, validateIPs(hosts, path.Child("hostIPs"))...)
	if s.ObservedGeneration < 0 {
		errs = append(errs, nonnegative(path.Child("observedGeneration"), s.ObservedGeneration)...)
	}
	return errs
}

func validateConditions(conditions []corev1.PodCondition, path *field.Path) field.ErrorList {
	system := sets.New(corev1.PodScheduled, corev1.PodReady, corev1.PodInitialized)
	var errs field.ErrorList
	for i, c := range conditions {
		if !system.Has(c.Type) {
			errs = append(errs, messages(path.Index(i).Child("Type"), string(c.Type), validation.IsQualifiedName(string(c.Type)))...)
		}
	}
	return errs
}

// validateTransitions agrees with upstream's ValidateContainerStateTransition:
// what has ended for good does not run again.
func validateTransitions(now, was []corev1.ContainerStatus, path *field.Path, policy corev1.RestartPolicy, containers []corev1.Container) field.ErrorList {
	if policy == corev1.RestartPolicyAlways {
		return nil
	}
	own := map[string]*corev1.ContainerRestartPolicy{}
	for i := range containers {
		own[containers[i].Name] = containers[i].RestartPolicy
	}
	states := map[string]corev1.ContainerState{}
	for _, c := range now {
		states[c.Name] = c.State
	}
	var errs field.ErrorList
	for i, c := range was {
		if c.State.Terminated == nil || own[c.Name] != nil {
			continue
		}
		if c.State.Terminated.ExitCode != 0 && policy == corev1.RestartPolicyOnFailure {
			continue
		}
		if state, ok := states[c.Name]; ok && state.Terminated == nil {
			errs = append(errs, field.Forbidden(path.Index(i).Child("state"), "may not be transitioned to non-terminated state"))
		}
	}
	return errs
}

func validateIPs(ips []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[string]()
	families := map[bool]int{}
	for i, ip := range ips {
		errs = append(errs, validation.IsValidIPForLegacyField(path.Index(i), ip, true, nil)...)
		if seen.Has(ip) {
			errs = append(errs, field.Duplicate(path.Index(i), ip))
		}
		seen.Insert(ip)
		if addr, err := netip.ParseAddr(ip); err == nil {
			families[addr.Unmap().Is4()]++
		}
	}
	if len(ips) > 1 && (len(ips) > 2 || families[true] != 1 || families[false] != 1) {
		errs = append(errs, field.Invalid(path, fmt.Sprint(ips), "may specify no more than one IP for each IP family"))
	}
	return errs
}
