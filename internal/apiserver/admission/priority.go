package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
)

// Priorities of the two classes that every cluster has.
const (
	clusterCritical = 2000000000
	nodeCritical    = 2000001000
)

// priority turns the class of a pod into its number. The PriorityClass kind is
// not served yet: the system's two classes and no class are what there is.
type priority struct {
	*admission.Handler
}

func newPriority(Deps) (admission.Interface, error) {
	return &priority{admission.NewHandler(admission.Create)}, nil
}

// Admit implements admission.MutationInterface.
func (p *priority) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := podOf(a)
	if !ok {
		return nil
	}
	var value int32
	switch pod.Spec.PriorityClassName {
	case "":
	case "system-cluster-critical":
		value = clusterCritical
	case "system-node-critical":
		value = nodeCritical
	default:
		return admission.NewForbidden(a, fmt.Errorf("no PriorityClass with name %v was found", pod.Spec.PriorityClassName))
	}
	if pod.Spec.Priority != nil && *pod.Spec.Priority != value {
		return admission.NewForbidden(a, fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *pod.Spec.Priority, value))
	}
	pod.Spec.Priority = &value
	if pod.Spec.PreemptionPolicy == nil {
		pod.Spec.PreemptionPolicy = new(corev1.PreemptLowerPriority)
	}
	return nil
}
