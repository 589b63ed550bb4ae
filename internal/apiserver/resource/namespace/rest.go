package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storageerr "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/util/dryrun"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
)

// REST is the storage of namespaces. It does not embed its store: namespaces
// cannot be deleted as a collection, since each deletion takes its contents.
type REST struct{ store *kind.Store }

var (
	_ rest.Lister              = (*REST)(nil)
	_ rest.CreaterUpdater      = (*REST)(nil)
	_ rest.GracefulDeleter     = (*REST)(nil)
	_ rest.Watcher             = (*REST)(nil)
	_ rest.ShortNamesProvider  = (*REST)(nil)
	_ rest.ResetFieldsStrategy = (*REST)(nil)
)

// Storages makes the namespaces' storage and its subresources.
func Storages(scheme *runtime.Scheme, getter generic.RESTOptionsGetter) (main *REST, status, finalize *kind.Subresource, err error) {
	k := Kind()
	store, err := k.Store(scheme, getter)
	if err != nil {
		return nil, nil, nil, err
	}
	// An update may remove the last of the metadata's finalizers while those of
	// the spec remain: the namespace stays until both are empty.
	store.ShouldDeleteDuringUpdate = func(_ context.Context, _ string, obj, _ runtime.Object) bool {
		return len(obj.(*corev1.Namespace).Spec.Finalizers) == 0
	}
	return &REST{store}, k.StatusREST(scheme, store), k.Subresource(scheme, store, finalizeRules()), nil
}

// Delete starts the deletion of a namespace, or ends it when the namespace
// controller has emptied it and taken the last finalizer.
func (r *REST) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	obj, err := r.store.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, false, err
	}
	ns := obj.(*corev1.Namespace)
	if options == nil {
		options = metav1.NewDeleteOptions(0)
	}
	if err := pinTo(ns, options); err != nil {
		return nil, false, err
	}
	if ns.DeletionTimestamp.IsZero() {
		return r.begin(ctx, ns, validate, options)
	}
	if len(ns.Spec.Finalizers) != 0 {
		return ns, false, nil
	}
	return r.store.Delete(ctx, name, validate, options)
}

// pinTo makes sure that the namespace seen is the one deleted.
func pinTo(ns *corev1.Namespace, options *metav1.DeleteOptions) error {
	if options.Preconditions == nil {
		options.Preconditions = &metav1.Preconditions{}
	}
	resource := corev1.Resource("namespaces")
	switch p := options.Preconditions; {
	case p.UID == nil:
		p.UID = &ns.UID
	case *p.UID != ns.UID:
		return apierrors.NewConflict(resource, ns.Name, fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", *p.UID, ns.UID))
	}
	if v := options.Preconditions.ResourceVersion; v != nil && *v != ns.ResourceVersion {
		return apierrors.NewConflict(resource, ns.Name, fmt.Errorf("Precondition failed: ResourceVersion in precondition: %v, ResourceVersion in object meta: %v", *v, ns.ResourceVersion))
	}
	return nil
}

// begin marks the namespace as going.
func (r *REST) begin(ctx context.Context, ns *corev1.Namespace, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	key, err := r.store.KeyFunc(ctx, ns.Name)
	if err != nil {
		return nil, false, err
	}
	out := r.store.NewFunc()
	preconditions := &storage.Preconditions{UID: options.Preconditions.UID, ResourceVersion: options.Preconditions.ResourceVersion}
	mark := func(existing runtime.Object) (runtime.Object, error) {
		ns, ok := existing.(*corev1.Namespace)
		if !ok {
			return nil, fmt.Errorf("deleting a namespace: got a %T", existing)
		}
		if err := validate(ctx, ns); err != nil {
			return nil, err
		}
		if ns.DeletionTimestamp.IsZero() {
			now := metav1.Now()
			ns.DeletionTimestamp = &now
		}
		ns.Status.Phase = corev1.NamespaceTerminating
		ns.Finalizers = finalizers(ns.Finalizers, options)
		return ns, nil
	}
	err = r.store.Storage.GuaranteedUpdate(ctx, key, out, false, preconditions, storage.SimpleUpdate(mark), dryrun.IsDryRun(options.DryRun), nil)
	if err != nil {
		err = storageerr.InterpretGetError(err, corev1.Resource("namespaces"), ns.Name)
		if _, ok := errors.AsType[*apierrors.StatusError](err); !ok {
			err = apierrors.NewInternalError(err)
		}
		return nil, false, err
	}
	return out, false, nil
}

// finalizers are the namespace's finalizers as the deletion options want them.
func finalizers(current []string, options *metav1.DeleteOptions) []string {
	want := map[string]bool{}
	switch {
	case options.OrphanDependents != nil:
		want[metav1.FinalizerOrphanDependents] = *options.OrphanDependents
	case options.PropagationPolicy != nil:
		want[metav1.FinalizerOrphanDependents] = *options.PropagationPolicy == metav1.DeletePropagationOrphan
		want[metav1.FinalizerDeleteDependents] = *options.PropagationPolicy == metav1.DeletePropagationForeground
	}
	for f, wanted := range want {
		has := slices.Contains(current, f)
		if wanted && !has {
			current = append(current, f)
		}
		if !wanted && has {
			current = slices.DeleteFunc(current, func(s string) bool { return s == f })
		}
	}
	return current
}

// New implements rest.Storage.
func (r *REST) New() runtime.Object { return r.store.New() }

// NewList implements rest.Lister.
func (r *REST) NewList() runtime.Object { return r.store.NewList() }

// Destroy implements rest.Storage.
func (r *REST) Destroy() { r.store.Destroy() }

// NamespaceScoped implements rest.Scoper.
func (r *REST) NamespaceScoped() bool { return false }

// GetSingularName implements rest.SingularNameProvider.
func (r *REST) GetSingularName() string { return r.store.GetSingularName() }

// ShortNames implements rest.ShortNamesProvider.
func (r *REST) ShortNames() []string { return r.store.ShortNames() }

// GetResetFields implements rest.ResetFieldsStrategy.
func (r *REST) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return r.store.GetResetFields()
}

// List implements rest.Lister.
func (r *REST) List(ctx context.Context, options *metainternalversion.ListOptions) (runtime.Object, error) {
	return r.store.List(ctx, options)
}

// Watch implements rest.Watcher.
func (r *REST) Watch(ctx context.Context, options *metainternalversion.ListOptions) (watch.Interface, error) {
	return r.store.Watch(ctx, options)
}

// Get implements rest.Getter.
func (r *REST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return r.store.Get(ctx, name, options)
}

// Create implements rest.Creater.
func (r *REST) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	return r.store.Create(ctx, obj, validate, options)
}

// Update implements rest.Updater.
func (r *REST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, forceCreate bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return r.store.Update(ctx, name, info, create, update, forceCreate, options)
}

// ConvertToTable implements rest.TableConvertor.
func (r *REST) ConvertToTable(ctx context.Context, object, options runtime.Object) (*metav1.Table, error) {
	return r.store.ConvertToTable(ctx, object, options)
}

// StorageVersion keeps the storage version hash in discovery.
func (r *REST) StorageVersion() runtime.GroupVersioner { return r.store.StorageVersion() }
