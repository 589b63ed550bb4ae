package kubelet

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/tools/reference"
)

// events writes the events of pods and of the node. Repeated ones are folded
// into counts by client-go's correlator before they reach the API server.
type events struct {
	recorder record.EventRecorder
}

func (e *events) pod(pod *v1.Pod, kind, reason, message string) {
	if e.recorder != nil {
		e.recorder.Event(podReference(pod, ""), kind, reason, message)
	}
}

func (e *events) container(pod *v1.Pod, container, kind, reason, message string) {
	if e.recorder != nil {
		e.recorder.Event(podReference(pod, fieldPath(pod, container)), kind, reason, message)
	}
}

func podReference(pod *v1.Pod, path string) *v1.ObjectReference {
	ref, err := reference.GetPartialReference(scheme.Scheme, pod, path)
	if err != nil {
		ref = &v1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, FieldPath: path}
	}
	return ref
}

// fieldPath is upstream's path of a container in its pod.
func fieldPath(pod *v1.Pod, container string) string {
	switch {
	case isInit(pod, container):
		return "spec.initContainers{" + container + "}"
	case isEphemeral(pod, container):
		return "spec.ephemeralContainers{" + container + "}"
	default:
		return "spec.containers{" + container + "}"
	}
}
