package apps

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
)

// Scaled is how a kind shows itself as a Scale.
type Scaled[T kind.Object] struct {
	// Replicas is where the kind keeps the desired number.
	Replicas func(T) **int32
	// Current is the number of replicas there are, Selector selects them.
	Current  func(T) int32
	Selector func(T) *metav1.LabelSelector
}

// ScaleREST is the scale subresource of a kind.
type ScaleREST[T kind.Object] struct {
	store    *kind.Store
	scaled   Scaled[T]
	resource schema.GroupResource
	version  schema.GroupVersion
	// paths tells under which version the desired number is owned in managed
	// fields: the owner of scale's spec.replicas owns the kind's.
	paths managedfields.ResourcePathMappings
}

// NewScale makes the scale subresource over the kind's store.
func NewScale[T kind.Object](store *kind.Store, k kind.Kind[T], scaled Scaled[T]) *ScaleREST[T] {
	version := k.Resource.WithVersion(k.Version).GroupVersion()
	return &ScaleREST[T]{store: store, scaled: scaled, resource: k.Resource, version: version,
		paths: managedfields.ResourcePathMappings{version.String(): fieldpath.MakePathOrDie("spec", "replicas")}}
}

// New implements rest.Storage.
func (*ScaleREST[T]) New() runtime.Object { return &autoscalingv1.Scale{} }

// Destroy implements rest.Storage.
func (*ScaleREST[T]) Destroy() {}

// GroupVersionKind implements rest.GroupVersionKindProvider.
func (*ScaleREST[T]) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
}

// ConvertToTable implements rest.TableConvertor.
func (r *ScaleREST[T]) ConvertToTable(ctx context.Context, object, options runtime.Object) (*metav1.Table, error) {
	return rest.NewDefaultTableConvertor(r.resource).ConvertToTable(ctx, object, options)
}

// Get implements rest.Getter.
func (r *ScaleREST[T]) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	obj, err := r.store.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	return r.scale(obj.(T))
}

func (r *ScaleREST[T]) scale(t T) (*autoscalingv1.Scale, error) {
	selector, err := metav1.LabelSelectorAsSelector(r.scaled.Selector(t))
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: t.GetName(), Namespace: t.GetNamespace(), UID: t.GetUID(),
			ResourceVersion: t.GetResourceVersion(), CreationTimestamp: t.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: replicas(*r.scaled.Replicas(t))},
		Status: autoscalingv1.ScaleStatus{Replicas: r.scaled.Current(t), Selector: selector.String()},
	}, nil
}

// Update implements rest.Updater.
func (r *ScaleREST[T]) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	obj, _, err := r.store.Update(ctx, name, &scaleInfo[T]{rest: r, name: name, scale: info},
		r.viaScale(create), r.updateViaScale(update), false, options)
	if err != nil {
		return nil, false, err
	}
	scale, err := r.scale(obj.(T))
	if err != nil {
		return nil, false, apierrors.NewBadRequest(err.Error())
	}
	return scale, false, nil
}

// viaScale shows admission the scale in place of the object.
func (r *ScaleREST[T]) viaScale(f rest.ValidateObjectFunc) rest.ValidateObjectFunc {
	return func(ctx context.Context, obj runtime.Object) error {
		scale, err := r.scale(obj.(T))
		if err != nil {
			return err
		}
		return f(ctx, scale)
	}
}

func (r *ScaleREST[T]) updateViaScale(f rest.ValidateObjectUpdateFunc) rest.ValidateObjectUpdateFunc {
	return func(ctx context.Context, obj, old runtime.Object) error {
		newScale, err := r.scale(obj.(T))
		if err != nil {
			return err
		}
		oldScale, err := r.scale(old.(T))
		if err != nil {
			return err
		}
		return f(ctx, newScale, oldScale)
	}
}

// scaleInfo turns an update of the scale into one of the object.
type scaleInfo[T kind.Object] struct {
	rest  *ScaleREST[T]
	name  string
	scale rest.UpdatedObjectInfo
}

func (i *scaleInfo[T]) Preconditions() *metav1.Preconditions { return i.scale.Preconditions() }

func (i *scaleInfo[T]) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	t, ok := old.DeepCopyObject().(T)
	if !ok || t.GetResourceVersion() == "" {
		return nil, apierrors.NewNotFound(i.rest.resource, i.name)
	}
	before, err := i.rest.scale(t)
	if err != nil {
		return nil, err
	}
	handler := managedfields.NewScaleHandler(t.GetManagedFields(), i.rest.version, i.rest.paths)
	parent, err := handler.ToSubresource()
	if err != nil {
		return nil, err
	}
	before.ManagedFields = parent
	obj, err := i.scale.UpdatedObject(ctx, before)
	if err != nil {
		return nil, err
	}
	scale, ok := obj.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected input object type to be Scale, but %T", obj))
	}
	if errs := ValidateScale(scale); len(errs) > 0 {
		return nil, apierrors.NewInvalid(autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind(), i.name, errs)
	}
	if scale.ResourceVersion != "" {
		t.SetResourceVersion(scale.ResourceVersion) // the store compares it
	}
	*i.rest.scaled.Replicas(t) = &scale.Spec.Replicas
	owners, err := handler.ToParent(scale.ManagedFields)
	if err != nil {
		return nil, err
	}
	t.SetManagedFields(owners)
	return t, nil
}

// ValidateScale agrees with upstream's ValidateScale.
func ValidateScale(s *autoscalingv1.Scale) field.ErrorList {
	errs := apivalidation.ValidateObjectMeta(&s.ObjectMeta, true, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	return append(errs, nonnegative(s.Spec.Replicas, field.NewPath("spec", "replicas"))...)
}
