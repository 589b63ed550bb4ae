package pod

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storageerr "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/util/dryrun"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
)

// BindingREST gives a pod to a node: POST pods/NAME/binding.
type BindingREST struct{ store *kind.Store }

var _ rest.NamedCreater = (*BindingREST)(nil)
var _ rest.SubresourceObjectMetaPreserver = (*BindingREST)(nil)

// NewBinding makes the binding subresource over the pods' store.
func NewBinding(store *kind.Store) *BindingREST { return &BindingREST{store} }

// New implements rest.Storage.
func (*BindingREST) New() runtime.Object { return &corev1.Binding{} }

// Destroy implements rest.Storage.
func (*BindingREST) Destroy() {}

// NamespaceScoped implements rest.Scoper.
func (*BindingREST) NamespaceScoped() bool { return true }

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate keeps the UID of the
// binding's metadata, which names the pod that is meant.
func (*BindingREST) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

// Create implements rest.NamedCreater.
func (r *BindingREST) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	binding, ok := obj.(*corev1.Binding)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %#v", obj))
	}
	if name != binding.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	if errs := validateBinding(binding); len(errs) != 0 {
		return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Binding").GroupKind(), name, errs)
	}
	if validate != nil {
		if err := validate(ctx, binding.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	if err := r.assign(ctx, name, binding, dryrun.IsDryRun(options.DryRun)); err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

// validateBinding agrees with upstream's ValidatePodBinding.
func validateBinding(b *corev1.Binding) field.ErrorList {
	var errs field.ErrorList
	if b.Target.Kind != "" && b.Target.Kind != "Node" {
		errs = append(errs, field.NotSupported(field.NewPath("target", "kind"), b.Target.Kind, []string{"Node", "<empty>"}))
	}
	if b.Target.Name == "" {
		errs = append(errs, field.Required(field.NewPath("target", "name"), ""))
	}
	return errs
}

func (r *BindingREST) assign(ctx context.Context, name string, b *corev1.Binding, dryRun bool) error {
	key, err := r.store.KeyFunc(ctx, name)
	if err != nil {
		return err
	}
	preconditions := &storage.Preconditions{}
	if b.UID != "" {
		preconditions.UID = &b.UID
	}
	if b.ResourceVersion != "" {
		preconditions.ResourceVersion = &b.ResourceVersion
	}
	err = r.store.Storage.GuaranteedUpdate(ctx, key, &corev1.Pod{}, false, preconditions, storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
		pod, ok := obj.(*corev1.Pod)
		if !ok {
			return nil, fmt.Errorf("unexpected object: %#v", obj)
		}
		return bind(pod, b)
	}), dryRun, nil)
	if err == nil {
		return nil
	}
	err = storageerr.InterpretGetError(err, corev1.Resource("pods"), name)
	err = storageerr.InterpretUpdateError(err, corev1.Resource("pods"), name)
	if _, ok := errors.AsType[*apierrors.StatusError](err); !ok {
		err = apierrors.NewConflict(corev1.Resource("pods/binding"), name, err)
	}
	return err
}

// bind assigns the pod; only a pod that waits for a node can be.
func bind(pod *corev1.Pod, b *corev1.Binding) (runtime.Object, error) {
	switch {
	case pod.DeletionTimestamp != nil:
		return nil, fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", pod.Name)
	case pod.Spec.NodeName != "":
		return nil, fmt.Errorf("pod %v is already assigned to node %q", pod.Name, pod.Spec.NodeName)
	case len(pod.Spec.SchedulingGates) != 0:
		return nil, fmt.Errorf("pod %v has non-empty .spec.schedulingGates", pod.Name)
	}
	pod.Spec.NodeName = b.Target.Name
	for key, value := range b.Annotations {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[key] = value
	}
	for key, value := range b.Labels {
		if pod.Labels == nil {
			pod.Labels = map[string]string{}
		}
		if _, ok := pod.Labels[key]; !ok {
			pod.Labels[key] = value
		}
	}
	pod.Status.NominatedNodeName = ""
	setScheduled(&pod.Status)
	return pod, nil
}

func setScheduled(s *corev1.PodStatus) {
	for i := range s.Conditions {
		c := &s.Conditions[i]
		if c.Type != corev1.PodScheduled {
			continue
		}
		if c.Status != corev1.ConditionTrue {
			c.LastTransitionTime = metav1.Now()
		}
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, "", ""
		return
	}
	s.Conditions = append(s.Conditions, corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(),
	})
}

// BindingsREST is the old way to bind: POST bindings.
type BindingsREST struct{ binding *BindingREST }

var _ rest.Creater = (*BindingsREST)(nil)
var _ rest.SingularNameProvider = (*BindingsREST)(nil)

// NewBindings makes the bindings resource over the binding subresource.
func NewBindings(binding *BindingREST) *BindingsREST { return &BindingsREST{binding} }

// New implements rest.Storage.
func (*BindingsREST) New() runtime.Object { return &corev1.Binding{} }

// Destroy implements rest.Storage.
func (*BindingsREST) Destroy() {}

// NamespaceScoped implements rest.Scoper.
func (*BindingsREST) NamespaceScoped() bool { return true }

// GetSingularName implements rest.SingularNameProvider.
func (*BindingsREST) GetSingularName() string { return "binding" }

// Create implements rest.Creater.
func (r *BindingsREST) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	binding, ok := obj.(*corev1.Binding)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %T", obj))
	}
	return r.binding.Create(ctx, binding.Name, binding, validate, options)
}
