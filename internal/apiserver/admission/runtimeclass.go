package admission

import (
	"context"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/kubernetes"
	nodelisters "k8s.io/client-go/listers/node/v1"
)

// runtimeClass gives a pod what its RuntimeClass says: the overhead, which the
// pod cannot set otherwise, and where it can run (KEP-585, KEP-688).
type runtimeClass struct {
	*admission.Handler
	client  kubernetes.Interface
	classes nodelisters.RuntimeClassLister
}

func newRuntimeClass(deps Deps) (admission.Interface, error) {
	return &runtimeClass{admission.NewHandler(admission.Create), deps.Client, deps.Informers.Node().V1().RuntimeClasses().Lister()}, nil
}

// Admit implements admission.MutationInterface.
func (r *runtimeClass) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := podOf(a)
	if !ok {
		return nil
	}
	class, err := r.class(ctx, a, pod)
	if err != nil || class == nil {
		return err
	}
	if class.Overhead != nil {
		if pod.Spec.Overhead != nil && !equality.Semantic.DeepEqual(pod.Spec.Overhead, class.Overhead.PodFixed) {
			return admission.NewForbidden(a, errOtherOverhead)
		}
		pod.Spec.Overhead = class.Overhead.PodFixed.DeepCopy()
	}
	if class.Scheduling != nil {
		return schedule(a, pod, class.Scheduling)
	}
	return nil
}

// Validate implements admission.ValidationInterface: nobody else may have set
// the overhead since.
func (r *runtimeClass) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := podOf(a)
	if !ok {
		return nil
	}
	class, err := r.class(ctx, a, pod)
	switch {
	case err != nil:
		return err
	case class != nil && class.Overhead != nil:
		if !equality.Semantic.DeepEqual(pod.Spec.Overhead, class.Overhead.PodFixed) {
			return admission.NewForbidden(a, errOtherOverhead)
		}
	case pod.Spec.Overhead != nil:
		return admission.NewForbidden(a, errOwnOverhead)
	}
	return nil
}

// Upstream's words.
var (
	errOtherOverhead = errors.New("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
	errOwnOverhead   = errors.New("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
)

// class is the pod's, nil for a pod without one. One that was just made may not
// be in the cache yet.
func (r *runtimeClass) class(ctx context.Context, a admission.Attributes, pod *corev1.Pod) (*nodev1.RuntimeClass, error) {
	if pod.Spec.RuntimeClassName == nil {
		return nil, nil
	}
	name := *pod.Spec.RuntimeClassName
	class, err := r.classes.Get(name)
	if apierrors.IsNotFound(err) {
		class, err = r.client.NodeV1().RuntimeClasses().Get(ctx, name, metav1.GetOptions{})
	}
	if apierrors.IsNotFound(err) {
		return nil, admission.NewForbidden(a, fmt.Errorf("pod rejected: RuntimeClass %q not found", name))
	}
	return class, err
}

// schedule adds the class's nodes and tolerations to the pod's own.
func schedule(a admission.Attributes, pod *corev1.Pod, where *nodev1.Scheduling) error {
	for key, value := range where.NodeSelector {
		if own, ok := pod.Spec.NodeSelector[key]; ok && own != value {
			return admission.NewForbidden(a, fmt.Errorf("conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", key, value, key, own))
		}
	}
	if pod.Spec.NodeSelector == nil && where.NodeSelector != nil {
		pod.Spec.NodeSelector = map[string]string{}
	}
	maps.Copy(pod.Spec.NodeSelector, where.NodeSelector)
	pod.Spec.Tolerations = mergeTolerations(pod.Spec.Tolerations, where.Tolerations)
	return nil
}

// mergeTolerations leaves out what another one of the list covers.
func mergeTolerations(first, second []corev1.Toleration) []corev1.Toleration {
	all := append(append([]corev1.Toleration{}, first...), second...)
	var merged []corev1.Toleration
	for i := range all {
		needed := true
		for j := range all {
			// Of two that are the same the first stays.
			if i != j && covers(&all[j], &all[i]) && (j < i || !covers(&all[i], &all[j])) {
				needed = false
				break
			}
		}
		if needed {
			merged = append(merged, all[i])
		}
	}
	return merged
}

// covers tells whether everything that b tolerates is tolerated by a.
func covers(a, b *corev1.Toleration) bool {
	if equality.Semantic.DeepEqual(a, b) {
		return true
	}
	anyKey := a.Key == "" && a.Operator == corev1.TolerationOpExists
	if (a.Key != b.Key && !anyKey) || (a.Effect != b.Effect && a.Effect != "") {
		return false
	}
	if a.Effect == corev1.TaintEffectNoExecute && a.TolerationSeconds != nil &&
		(b.TolerationSeconds == nil || *b.TolerationSeconds > *a.TolerationSeconds) {
		return false
	}
	if a.Operator == corev1.TolerationOpExists {
		return true
	}
	return (a.Operator == "" || a.Operator == corev1.TolerationOpEqual) && b.Operator == corev1.TolerationOpEqual && a.Value == b.Value
}
