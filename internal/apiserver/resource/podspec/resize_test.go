package podspec

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestValidateResize(t *testing.T) {
	const burst = `containers: [{name: a, image: i, resources: {requests: {cpu: 100m, memory: 10Mi}, limits: {cpu: 200m, memory: 20Mi}}}, {name: b, image: i}]`
	const safe = `containers: [{name: a, image: i, resources: {requests: {cpu: 100m, memory: 10Mi}, limits: {cpu: 100m, memory: 10Mi}}}]`
	const init = `{containers: [{name: a, image: i}], initContainers: [{name: x, image: i, resources: {requests: {cpu: 100m}}}]}`
	const whole = `{resources: {requests: {cpu: 1}, limits: {cpu: 2}}, containers: [{name: a, image: i}]}`
	const disk = `containers: [{name: a, image: i, resources: {requests: {cpu: 100m, ephemeral-storage: 1Mi}}}]`
	for _, c := range []struct {
		name, old, now string
		want           []string
	}{
		{"more and less", burst, `containers: [{name: a, image: i, resources: {requests: {cpu: 50m, memory: 15Mi}, limits: {cpu: 300m, memory: 15Mi}}}, {name: b, image: i}]`, nil},
		{"what was not there", burst, `containers: [{name: a, image: i, resources: {requests: {cpu: 100m, memory: 10Mi}, limits: {cpu: 200m, memory: 20Mi}}}, {name: b, image: i, resources: {requests: {cpu: 10m}, limits: {memory: 10Mi}}}]`, nil},
		{"a removed limit", burst, `containers: [{name: a, image: i, resources: {requests: {cpu: 100m, memory: 10Mi}, limits: {cpu: 200m}}}, {name: b, image: i}]`, []string{"spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed"}},
		{"a removed request", burst, `containers: [{name: a, image: i, resources: {requests: {cpu: 100m}, limits: {cpu: 200m, memory: 20Mi}}}, {name: b, image: i}]`, nil}, // it is defaulted to the limit
		{"another class", safe, `containers: [{name: a, image: i, resources: {requests: {cpu: 50m, memory: 10Mi}, limits: {cpu: 100m, memory: 10Mi}}}]`, []string{"spec: Invalid value: Pod QOS Class may not change as a result of resizing"}},
		{"another order", burst, `containers: [{name: b, image: i}, {name: a, image: i, resources: {requests: {cpu: 100m, memory: 10Mi}, limits: {cpu: 200m, memory: 20Mi}}}]`, []string{
			"spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize", "spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize"}},
		{"one less", burst, `containers: [{name: a, image: i, resources: {requests: {cpu: 100m, memory: 10Mi}, limits: {cpu: 200m, memory: 20Mi}}}]`, []string{"spec.containers: Forbidden: containers may not be added or removed on resize"}},
		{"something else", disk, `containers: [{name: a, image: i, resources: {requests: {cpu: 200m, ephemeral-storage: 2Mi}}}]`, []string{"spec: Forbidden: only cpu and memory resources are mutable"}},
		{"another policy", safe, `containers: [{name: a, image: i, resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}], resources: {requests: {cpu: 100m, memory: 10Mi}, limits: {cpu: 100m, memory: 10Mi}}}]`, []string{"spec: Forbidden: only cpu and memory resources are mutable"}},
		{"an init container", init, `{containers: [{name: a, image: i}], initContainers: [{name: x, image: i, resources: {requests: {cpu: 200m}}}]}`, nil},
		{"an init container's request removed", init, `{containers: [{name: a, image: i}], initContainers: [{name: x, image: i, resources: {requests: {memory: 1Mi}}}]}`, []string{"spec.initContainers[0].resources.requests: Forbidden: resource requests cannot be removed"}},
		{"the pod as a whole", whole, `{resources: {requests: {cpu: 2}, limits: {cpu: 3}}, containers: [{name: a, image: i}]}`, nil},
		{"the pod's limit removed", whole, `{resources: {requests: {cpu: 1}}, containers: [{name: a, image: i}]}`, []string{"spec.resources.limits: Forbidden: pod-level resource limits cannot be removed"}},
		{"the pod's resources removed", whole, `{containers: [{name: a, image: i, resources: {requests: {cpu: 1}}}]}`, []string{"spec.resources: Forbidden: pod-level resources cannot be removed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			old, now := newPod(t, c.old), newPod(t, c.now)
			old.Status.QOSClass = QOS(old)
			if got := texts(ValidateResize(now, old)); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
	old := newPod(t, safe)
	old.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	if got := texts(ValidateResize(newPod(t, safe), old)); !slices.Equal(got, []string{"[]: Forbidden: static pods cannot be resized"}) {
		t.Errorf("a static pod: %q", got)
	}
	old = newPod(t, safe)
	old.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "a", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	if got := texts(ValidateResize(newPod(t, safe), old)); !slices.Equal(got, []string{"spec: Forbidden: Pod running on node without support for resize"}) {
		t.Errorf("a node that does not resize: %q", got)
	}
}
