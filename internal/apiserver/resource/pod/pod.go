// Package pod is the Pod kind and its subresources: status, binding, eviction,
// ephemeralcontainers, resize, and the streams that end at the node's kubelet.
package pod

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
	"go.skiff.dev/skiff/internal/apiserver/resource/podspec"
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
		Rules: kind.Rules[*corev1.Pod]{
			PrepareForCreate:    prepareForCreate,
			PrepareForUpdate:    prepareForUpdate,
			Validate:            func(_ context.Context, p *corev1.Pod) field.ErrorList { return podspec.ValidatePod(p) },
			ValidateUpdate:      func(_ context.Context, p, old *corev1.Pod) field.ErrorList { return podspec.ValidatePodUpdate(p, old) },
			Warn:                warn,
			CheckGracefulDelete: checkGracefulDelete,
			Reset:               []fieldpath.Path{fieldpath.MakePathOrDie("status")},
		},
		Status: &kind.Rules[*corev1.Pod]{
			PrepareForUpdate: prepareStatus,
			ValidateUpdate: func(_ context.Context, p, old *corev1.Pod) field.ErrorList {
				return podspec.ValidateStatusUpdate(p, old)
			},
			Reset: []fieldpath.Path{
				fieldpath.MakePathOrDie("spec"),
				fieldpath.MakePathOrDie("metadata", "deletionTimestamp"),
				fieldpath.MakePathOrDie("metadata", "ownerReferences"),
			},
		},
		Table: table(),
	}
}

// selectable are the fields that field selectors on pods can name.
func selectable(pod *corev1.Pod) fields.Set {
	ip := pod.Status.PodIP
	if len(pod.Status.PodIPs) > 0 {
		ip = pod.Status.PodIPs[0].IP
	}
	return fields.Set{
		"spec.nodeName":            pod.Spec.NodeName,
		"spec.restartPolicy":       string(pod.Spec.RestartPolicy),
		"spec.schedulerName":       pod.Spec.SchedulerName,
		"spec.serviceAccountName":  pod.Spec.ServiceAccountName,
		"spec.hostNetwork":         fmt.Sprint(pod.Spec.HostNetwork),
		"status.phase":             string(pod.Status.Phase),
		"status.podIP":             ip,
		"status.nominatedNodeName": pod.Status.NominatedNodeName,
	}
}

func prepareForCreate(_ context.Context, pod *corev1.Pod) {
	pod.Generation = 1
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: podspec.QOS(pod)}
	if len(pod.Spec.SchedulingGates) > 0 {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{
			Type:    corev1.PodScheduled,
			Status:  corev1.ConditionFalse,
			Reason:  corev1.PodReasonSchedulingGated,
			Message: "Scheduling is blocked due to non-empty scheduling gates",

			LastTransitionTime: metav1.Now(),
		})
	}
	podspec.MergeLabelKeys(pod)
}

// warn is silent on update: it is seldom a person who updates a pod.
func warn(_ context.Context, pod, old *corev1.Pod) []string {
	if old != nil {
		return nil
	}
	return append(podspec.NameWarning(pod.Name, "the Pod's hostname"), podspec.Warnings(&pod.ObjectMeta, &pod.Spec, nil)...)
}

func prepareForUpdate(_ context.Context, pod, old *corev1.Pod) {
	pod.Status = old.Status
	bump(pod, old)
}

// prepareStatus lets the kubelet write the status and nothing else.
func prepareStatus(_ context.Context, pod, old *corev1.Pod) {
	pod.Spec = old.Spec
	pod.DeletionTimestamp = nil // rest.BeforeUpdate puts the stored one back
	// A kubelet that does not know a field of the owner references would
	// otherwise drop it and break garbage collection.
	pod.OwnerReferences = old.OwnerReferences
	if pod.Status.QOSClass == "" {
		pod.Status.QOSClass = old.Status.QOSClass
	}
	alignIPs(&pod.Status)
}

// alignIPs keeps podIP the first of podIPs, and hostIP that of hostIPs: who
// writes the old field alone is heard.
func alignIPs(s *corev1.PodStatus) {
	if s.PodIP != "" && (len(s.PodIPs) == 0 || s.PodIPs[0].IP != s.PodIP) {
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	}
	if s.PodIP == "" && len(s.PodIPs) > 0 {
		s.PodIP = s.PodIPs[0].IP
	}
	if s.HostIP != "" && (len(s.HostIPs) == 0 || s.HostIPs[0].IP != s.HostIP) {
		s.HostIPs = []corev1.HostIP{{IP: s.HostIP}}
	}
	if s.HostIP == "" && len(s.HostIPs) > 0 {
		s.HostIP = s.HostIPs[0].IP
	}
}

// checkGracefulDelete leaves the end of a pod that runs to its node.
func checkGracefulDelete(_ context.Context, pod *corev1.Pod, options *metav1.DeleteOptions) bool {
	period := int64(0)
	switch {
	case options.GracePeriodSeconds != nil:
		period = *options.GracePeriodSeconds
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		period = *pod.Spec.TerminationGracePeriodSeconds
	}
	if pod.Spec.NodeName == "" {
		period = 0 // no node knows of it
	}
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		period = 0
	}
	if period < 0 {
		period = 1
	}
	options.GracePeriodSeconds = &period
	return true
}
