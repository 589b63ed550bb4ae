package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	corelisters "k8s.io/client-go/listers/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// resize refuses a resize to more than the pod's node has to give to all pods
// together: its kubelet could only say that it will never be.
type resize struct {
	*admission.Handler
	nodes corelisters.NodeLister
}

func newResize(deps Deps) (admission.Interface, error) {
	nodes := deps.Informers.Core().V1().Nodes()
	p := &resize{Handler: admission.NewHandler(admission.Update), nodes: nodes.Lister()}
	p.SetReadyFunc(nodes.Informer().HasSynced)
	return p, nil
}

// Validate implements admission.ValidationInterface.
func (p *resize) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().GroupResource() != corev1.Resource("pods") || a.GetSubresource() != "resize" {
		return nil
	}
	pod, ok := a.GetObject().(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" {
		return nil
	}
	if old, ok := a.GetOldObject().(*corev1.Pod); ok && old.Generation == pod.Generation {
		return nil
	}
	if !p.WaitForReady() {
		return admission.NewForbidden(a, errors.New("not yet ready to handle request"))
	}
	node, err := p.nodes.Get(pod.Spec.NodeName)
	if apierrors.IsNotFound(err) {
		return admission.NewForbidden(a, fmt.Errorf("node %q not found", pod.Spec.NodeName))
	}
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("getting node %q: %w", pod.Spec.NodeName, err))
	}
	if os, ok := node.Labels[corev1.LabelOSStable]; ok && os != "linux" {
		return because("UnsupportedPlatform", admission.NewForbidden(a, fmt.Errorf("pod resize is only supported on linux nodes, node %q is %q", node.Name, os)))
	}
	if lacks := lacking(pod, node); lacks != "" {
		return because("NodeCapacity", admission.NewForbidden(a, fmt.Errorf("node didn't have enough allocatable resources: %s", lacks)))
	}
	return nil
}

func lacking(pod *corev1.Pod, node *corev1.Node) string {
	var all []string
	wants := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	if want, has := wants.Cpu(), node.Status.Allocatable.Cpu(); want.Cmp(*has) > 0 {
		all = append(all, fmt.Sprintf("cpu, requested: %d, allocatable: %d", want.MilliValue(), has.MilliValue()))
	}
	if want, has := wants.Memory(), node.Status.Allocatable.Memory(); want.Cmp(*has) > 0 {
		all = append(all, fmt.Sprintf("memory, requested: %d, allocatable: %d", want.Value(), has.Value()))
	}
	return strings.Join(all, "; ")
}

// because adds the cause that clients look for.
func because(cause metav1.CauseType, err error) error {
	if status, ok := errors.AsType[*apierrors.StatusError](err); ok && status.ErrStatus.Details != nil {
		status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{Type: cause})
	}
	return err
}
