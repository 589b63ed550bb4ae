// Package pod is the Pod kind and its subresources.
package pod

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/internal/apiserver/resource/kind"
)

// Kind describes Pod.
func Kind() kind.Kind[*corev1.Pod] {
	return kind.Kind[*corev1.Pod]{
		Resource:   schema.GroupResource{Resource: "pods"},
		Version:    "v1",
		Singular:   "pod",
		ShortNames: []string{"po"},
		Categories: []string{"all"},
		Namespaced: true,
		New:        func() *corev1.Pod { return &corev1.Pod{} },
		NewList:    func() runtime.Object { return &corev1.PodList{} },
		Fields:     selectable,
		Index:      []string{"spec.nodeName"},
		Trigger:    "spec.nodeName",
		Status:     &kind.Rules[*corev1.Pod]{},
	}
}

func selectable(pod *corev1.Pod) fields.Set {
	return fields.Set{"spec.nodeName": pod.Spec.NodeName}
}
