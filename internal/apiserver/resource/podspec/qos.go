package podspec

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// QOS is the quality of service class of a pod, from what its containers (or
// the pod as a whole) request and limit of CPU and memory. It agrees with
// upstream's ComputePodQOS.
func QOS(pod *corev1.Pod) corev1.PodQOSClass {
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	guaranteed := true
	count := func(r corev1.ResourceRequirements) {
		add(requests, r.Requests)
		guaranteed = add(limits, r.Limits) == 2 && guaranteed
	}
	if pod.Spec.Resources != nil && len(pod.Spec.Resources.Requests)+len(pod.Spec.Resources.Limits) > 0 {
		count(*pod.Spec.Resources)
	} else {
		for i := range pod.Spec.Containers {
			count(pod.Spec.Containers[i].Resources)
		}
		for i := range pod.Spec.InitContainers {
			count(pod.Spec.InitContainers[i].Resources)
		}
	}
	if len(requests) == 0 && len(limits) == 0 {
		return corev1.PodQOSBestEffort
	}
	if guaranteed && len(limits) == len(requests) {
		for name, request := range requests {
			if limit, ok := limits[name]; !ok || limit.Cmp(request) != 0 {
				guaranteed = false
			}
		}
		if guaranteed {
			return corev1.PodQOSGuaranteed
		}
	}
	return corev1.PodQOSBurstable
}

// add sums CPU and memory above zero, and tells how many of the two were.
func add(sum, list corev1.ResourceList) (found int) {
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		q, ok := list[name]
		if !ok || q.Sign() <= 0 {
			continue
		}
		found++
		total, ok := sum[name]
		if !ok {
			total = resource.Quantity{}
		}
		total.Add(q)
		sum[name] = total
	}
	return found
}
