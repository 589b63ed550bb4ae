package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ValidateResize agrees with upstream's ValidatePodResize: CPU and memory of
// containers and of the pod as a whole may change, within the pod's class, and
// nothing that was set may be taken away.
func ValidateResize(pod, old *corev1.Pod) field.ErrorList {
	if _, mirror := old.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods cannot be resized")}
	}
	if old.Spec.OS != nil && old.Spec.OS.Name == corev1.Windows {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "windows pods cannot be resized")}
	}
	path := field.NewPath("spec")
	errs := ValidateSpec(&pod.Spec, path)
	class := old.Status.QOSClass
	if class == "" {
		class = QOS(old)
	}
	if QOS(pod) != class {
		errs = append(errs, field.Invalid(path, class, "Pod QOS Class may not change as a result of resizing"))
	}
	if !reportsResources(old) {
		errs = append(errs, field.Forbidden(path, "Pod running on node without support for resize"))
	}
	errs = append(errs, resizedPod(pod.Spec.Resources, old.Spec.Resources, path)...)
	moved := append(sameContainers(pod.Spec.Containers, old.Spec.Containers, "containers", path), sameContainers(pod.Spec.InitContainers, old.Spec.InitContainers, "initContainers", path)...)
	if len(moved) > 0 {
		return append(errs, moved...)
	}
	for i := range pod.Spec.InitContainers {
		errs = append(errs, resizedInit(&pod.Spec.InitContainers[i], &old.Spec.InitContainers[i], path.Child("initContainers").Index(i))...)
	}
	for i := range pod.Spec.Containers {
		c, was := &pod.Spec.Containers[i], &old.Spec.Containers[i]
		errs = append(errs, nothingRemoved(c.Resources, was.Resources, "resource", path.Child("containers").Index(i).Child("resources"))...)
		if !equality.Semantic.DeepEqual(withResources(c, was), *was) {
			errs = append(errs, field.Forbidden(path, "only cpu and memory resources are mutable"))
		}
	}
	return errs
}

// reportsResources tells whether the pod's node says what containers run with:
// one that is too old for that does not resize them either.
func reportsResources(pod *corev1.Pod) bool {
	for _, c := range pod.Status.ContainerStatuses {
		if c.State.Running != nil {
			return c.Resources != nil
		}
	}
	return true
}

// resizedPod looks at the resources of the pod as a whole (KEP-5419).
func resizedPod(now, was *corev1.ResourceRequirements, path *field.Path) field.ErrorList {
	if was == nil {
		was = &corev1.ResourceRequirements{}
	} else if now == nil {
		return field.ErrorList{field.Forbidden(path.Child("resources"), "pod-level resources cannot be removed")}
	}
	if now == nil {
		return nil
	}
	errs := nothingRemoved(*now, *was, "pod-level resource", path.Child("resources"))
	if !equality.Semantic.DeepEqual(put(*now, *was), *was) {
		errs = append(errs, field.Forbidden(path, "only cpu and memory resources are mutable at pod-level"))
	}
	return errs
}

func resizedInit(c, was *corev1.Container, path *field.Path) field.ErrorList {
	errs := nothingRemoved(c.Resources, was.Resources, "resource", path.Child("resources"))
	if !equality.Semantic.DeepEqual(withResources(c, was), *was) {
		errs = append(errs, field.Forbidden(path, "only cpu and memory resources for init or sidecar containers are mutable"))
	}
	sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	if sidecar || equality.Semantic.DeepEqual(c, was) {
		return errs
	}
	for _, p := range c.ResizePolicy {
		if p.RestartPolicy == corev1.RestartContainer {
			errs = append(errs, field.Forbidden(path, "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"))
		}
	}
	return errs
}

// sameContainers agrees with upstream's validatePodResizeContainerOrdering.
func sameContainers(now, was []corev1.Container, name string, path *field.Path) field.ErrorList {
	if len(now) != len(was) {
		return field.ErrorList{field.Forbidden(path.Child(name), name+" may not be added or removed on resize")}
	}
	var errs field.ErrorList
	for i := range now {
		if now[i].Name != was[i].Name {
			errs = append(errs, field.Forbidden(path.Child(name).Index(i).Child("name"), name+" may not be renamed or reordered on resize"))
		}
	}
	return errs
}

func nothingRemoved(now, was corev1.ResourceRequirements, what string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	check := func(now, was corev1.ResourceList, name string) {
		for resource := range was {
			if _, ok := now[resource]; !ok {
				errs = append(errs, field.Forbidden(path.Child(name), fmt.Sprintf("%s %s cannot be removed", what, name)))
				return
			}
		}
	}
	check(now.Requests, was.Requests, "requests")
	check(now.Limits, was.Limits, "limits")
	return errs
}

// withResources is a container with what may change put back as it was.
func withResources(c, was *corev1.Container) corev1.Container {
	back := *c
	back.Resources = put(c.Resources, was.Resources)
	return back
}

// put puts CPU and memory back as they were.
func put(now, was corev1.ResourceRequirements) corev1.ResourceRequirements {
	list := func(now, was corev1.ResourceList) corev1.ResourceList {
		back := now.DeepCopy()
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			delete(back, name)
			if q, ok := was[name]; ok {
				if back == nil {
					back = corev1.ResourceList{}
				}
				back[name] = q
			}
		}
		return back
	}
	now.Limits, now.Requests = list(now.Limits, was.Limits), list(now.Requests, was.Requests)
	return now
}
