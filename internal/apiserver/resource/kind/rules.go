package kind

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Rules are what a kind does to and demands of its objects on the way into the
// store. Every function may be nil.
type Rules[T Object] struct {
	// Name says what is wrong with a name; nil accepts any DNS subdomain.
	Name validation.ValidateNameFunc
	// PrepareForCreate drops what a client may not set and fills in what only
	// the server knows. It runs before validation.
	PrepareForCreate func(ctx context.Context, obj T)
	// PrepareForUpdate does the same with the stored object at hand.
	PrepareForUpdate func(ctx context.Context, obj, old T)
	// Validate demands; metadata has been validated already.
	Validate func(ctx context.Context, obj T) field.ErrorList
	// ValidateUpdate demands on update; nil means Validate of the new object.
	ValidateUpdate func(ctx context.Context, obj, old T) field.ErrorList
	// Warn returns warnings for the client; old is the zero T on create.
	Warn func(ctx context.Context, obj, old T) []string
	// Canonicalize runs after validation, before the object is stored.
	Canonicalize func(obj T)
	// CheckGracefulDelete tells whether the deletion is to wait for the node,
	// and sets the grace period in the options if so.
	CheckGracefulDelete func(ctx context.Context, obj T, options *metav1.DeleteOptions) bool
	// OrphanByDefault: dependents stay unless the client says otherwise.
	OrphanByDefault bool
	// CreateOnUpdate: PUT of a name that does not exist creates it.
	CreateOnUpdate bool
	// RequireVersion: a PUT must name the resource version it is based on.
	RequireVersion bool
	// Reset are the fields that these rules overrule, so that server-side
	// apply does not let anyone own them here.
	Reset []fieldpath.Path
}

func (r Rules[T]) strategy(scheme *runtime.Scheme, k Kind[T]) *strategy[T] {
	return &strategy[T]{
		ObjectTyper:   scheme,
		NameGenerator: names.SimpleNameGenerator,
		rules:         r,
		namespaced:    k.Namespaced,
		apiVersion:    fieldpath.APIVersion(k.Resource.WithVersion(k.Version).GroupVersion().String()),
	}
}

// strategy makes k8s.io/apiserver's strategy interfaces of Rules.
type strategy[T Object] struct {
	runtime.ObjectTyper
	names.NameGenerator
	rules      Rules[T]
	namespaced bool
	apiVersion fieldpath.APIVersion
}

func (s *strategy[T]) NamespaceScoped() bool          { return s.namespaced }
func (s *strategy[T]) AllowCreateOnUpdate() bool      { return s.rules.CreateOnUpdate }
func (s *strategy[T]) AllowUnconditionalUpdate() bool { return !s.rules.RequireVersion }

func (s *strategy[T]) PrepareForCreate(ctx context.Context, obj runtime.Object) {
	if s.rules.PrepareForCreate != nil {
		s.rules.PrepareForCreate(ctx, obj.(T))
	}
}

func (s *strategy[T]) PrepareForUpdate(ctx context.Context, obj, old runtime.Object) {
	if s.rules.PrepareForUpdate != nil {
		s.rules.PrepareForUpdate(ctx, obj.(T), old.(T))
	}
}

func (s *strategy[T]) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	t := obj.(T)
	name := s.rules.Name
	if name == nil {
		name = validation.NameIsDNSSubdomain
	}
	errs := validation.ValidateObjectMetaAccessor(t, s.namespaced, name, field.NewPath("metadata"))
	errs = append(errs, validateFinalizers(t)...)
	if s.rules.Validate != nil {
		errs = append(errs, s.rules.Validate(ctx, t)...)
	}
	return errs
}

func (s *strategy[T]) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	t, o := obj.(T), old.(T)
	// rest.BeforeUpdate has validated the metadata.
	errs := validateFinalizers(t)
	switch {
	case s.rules.ValidateUpdate != nil:
		errs = append(errs, s.rules.ValidateUpdate(ctx, t, o)...)
	case s.rules.Validate != nil:
		errs = append(errs, s.rules.Validate(ctx, t)...)
	}
	return errs
}

// validateFinalizers demands names with a domain, so that nobody waits for a
// finalizer that two believe to be theirs. Kubernetes' own have none.
func validateFinalizers(obj metav1.Object) field.ErrorList {
	path := field.NewPath("metadata", "finalizers")
	var errs field.ErrorList
	for i, name := range obj.GetFinalizers() {
		switch {
		case strings.Contains(name, "/"):
		case name == string(corev1.FinalizerKubernetes), name == metav1.FinalizerOrphanDependents, name == metav1.FinalizerDeleteDependents:
		default:
			errs = append(errs, field.Invalid(path.Index(i), name, "name is neither a standard finalizer name nor is it fully qualified"))
		}
	}
	return errs
}

func (s *strategy[T]) WarningsOnCreate(ctx context.Context, obj runtime.Object) []string {
	if s.rules.Warn == nil {
		return nil
	}
	var none T
	return s.rules.Warn(ctx, obj.(T), none)
}

func (s *strategy[T]) WarningsOnUpdate(ctx context.Context, obj, old runtime.Object) []string {
	if s.rules.Warn == nil {
		return nil
	}
	return s.rules.Warn(ctx, obj.(T), old.(T))
}

func (s *strategy[T]) Canonicalize(obj runtime.Object) {
	if s.rules.Canonicalize != nil {
		s.rules.Canonicalize(obj.(T))
	}
}

// GetResetFields implements rest.ResetFieldsStrategy.
func (s *strategy[T]) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	if len(s.rules.Reset) == 0 {
		return nil
	}
	return map[fieldpath.APIVersion]*fieldpath.Set{s.apiVersion: fieldpath.NewSet(s.rules.Reset...)}
}

// forDelete returns the strategy for deletions. The store asks whether it can
// delete gracefully by asserting a type, so only kinds that do get the method.
func (s *strategy[T]) forDelete() rest.RESTDeleteStrategy {
	switch {
	case s.rules.CheckGracefulDelete != nil:
		return gracefulStrategy[T]{s}
	case s.rules.OrphanByDefault:
		return orphanStrategy[T]{s}
	}
	return s
}

type gracefulStrategy[T Object] struct{ *strategy[T] }

func (s gracefulStrategy[T]) CheckGracefulDelete(ctx context.Context, obj runtime.Object, options *metav1.DeleteOptions) bool {
	return s.rules.CheckGracefulDelete(ctx, obj.(T), options)
}

type orphanStrategy[T Object] struct{ *strategy[T] }

func (orphanStrategy[T]) DefaultGarbageCollectionPolicy(context.Context) rest.GarbageCollectionPolicy {
	return rest.OrphanDependents
}
