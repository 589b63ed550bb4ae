package kubelet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	v1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"go.skiff.dev/skiff/internal/kernel/durable"
)

// allocation is what a pod was given on this node (KEP-1287). It is what the
// pod's specification asked for when the pod was let in, and later what it asked
// for when there was room for that. Everything that the node agent does for a
// pod, it does with the pod as it was given, and not as it is wanted.
//
// It outlives skiff: the sandbox has what held when it was made as an annotation,
// and a pod that was resized has a file in its directory, which counts more. So a
// pod whose resources never change costs no write.
type allocation struct {
	// Pod is set if the pod as a whole has resources (KEP-2837).
	Pod *v1.ResourceRequirements `json:"pod,omitempty"`
	// Containers has those of init and app containers, by name.
	Containers map[string]v1.ResourceRequirements `json:"containers"`
}

const (
	allocationFile      = "allocation.json" // in the pod's directory
	annotationAllocated = "skiff.dev/allocated-resources"
	// annotationResources of a container is what it was started with, on those that a resize may restart.
	annotationResources = "skiff.dev/resources"
)

func allocationOf(pod *v1.Pod) *allocation {
	a := &allocation{Pod: pod.Spec.Resources, Containers: map[string]v1.ResourceRequirements{}}
	eachContainer(pod, func(c *v1.Container) { a.Containers[c.Name] = c.Resources })
	return a
}

func (a *allocation) equal(b *allocation) bool {
	return apiequality.Semantic.DeepEqual(a, b)
}

// onto is the pod with what it was given in the place of what it asks for; the
// pod itself if that is the same.
func (a *allocation) onto(pod *v1.Pod) *v1.Pod {
	if a == nil || a.equal(allocationOf(pod)) {
		return pod
	}
	given := *pod
	given.Spec.Resources = a.Pod
	give := func(all []v1.Container) []v1.Container {
		all = slices.Clone(all)
		for i := range all {
			if r, ok := a.Containers[all[i].Name]; ok {
				all[i].Resources = r
			}
		}
		return all
	}
	given.Spec.Containers, given.Spec.InitContainers = give(pod.Spec.Containers), give(pod.Spec.InitContainers)
	return &given
}

func (a *allocation) text() string {
	data, err := json.Marshal(a)
	if err != nil {
		return "" // cannot be: all of it came as JSON
	}
	return string(data)
}

// findAllocation is what an earlier run of skiff gave a pod. resized tells that
// this may not be what the pod's cgroups say.
func (k *Kubelet) findAllocation(pod *v1.Pod, v *view) (a *allocation, resized bool, err error) {
	a = &allocation{}
	data, err := os.ReadFile(filepath.Join(k.podDir(string(pod.UID)), allocationFile))
	if err == nil {
		if err := json.Unmarshal(data, a); err != nil {
			return nil, false, fmt.Errorf("reading what pod %s was given: %w", podName(pod), err)
		}
		return a, true, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("reading what pod %s was given: %w", podName(pod), err)
	}
	if box := v.sandbox(); box != nil && json.Unmarshal([]byte(box.Allocated), a) == nil {
		return a, false, nil
	}
	return allocationOf(pod), true, nil // a sandbox of a skiff that did not write it down
}

// saveAllocation writes down what a pod was given.
func (k *Kubelet) saveAllocation(pod *v1.Pod, a *allocation) error {
	dir := k.podDir(string(pod.UID))
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, allocationFile), []byte(a.text()), 0o600)
}
