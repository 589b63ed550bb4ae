// Package kind turns the description of a built-in kind into what
// k8s.io/apiserver serves: a store with its strategies, a status subresource
// and a table convertor.
//
// A kind is described by data and small functions over its external v1 type:
//
//	configmap := kind.Kind[*corev1.ConfigMap]{
//		Resource:   schema.GroupResource{Resource: "configmaps"},
//		Version:    "v1",
//		Singular:   "configmap",
//		Namespaced: true,
//		New:        func() *corev1.ConfigMap { return &corev1.ConfigMap{} },
//		NewList:    func() runtime.Object { return &corev1.ConfigMapList{} },
//		Rules:      kind.Rules[*corev1.ConfigMap]{Validate: validate},
//		Table:      kind.Table[*corev1.ConfigMap]{Columns: columns, Row: row},
//	}
//	store, err := configmap.Store(scheme, getter)
//
// What holds on every path: metadata is validated for every object that is
// created or updated, before the kind's own validation; status rules never see
// a change outside of status that the kind did not keep on purpose.
package kind

import (
	"fmt"
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/tools/cache"
)

// Object is an API object with metadata; T is always a pointer to it.
type Object interface {
	runtime.Object
	metav1.Object
}

// Kind describes one stored kind.
type Kind[T Object] struct {
	// Resource is the group and the plural, Version the version served.
	Resource schema.GroupResource
	Version  string
	Singular string
	// ShortNames and Categories are what kubectl knows it by as well.
	ShortNames []string
	Categories []string
	Namespaced bool

	New     func() T
	NewList func() runtime.Object

	// Rules of the main resource, and of its status if it has one.
	Rules  Rules[T]
	Status *Rules[T]

	// Fields that field selectors can name, besides the name and namespace.
	Fields func(T) fields.Set
	// Index names those of Fields the watch cache keeps an index of.
	Index []string
	// Trigger names the field by which watchers are told apart without
	// matching each of them; at most one. It may be "metadata.name".
	Trigger string

	Table Table[T]
}

// Store is a kind's storage with the names kubectl knows it by.
type Store struct {
	*genericregistry.Store
	shortNames []string
	categories []string
}

// ShortNames implements rest.ShortNamesProvider.
func (s *Store) ShortNames() []string { return s.shortNames }

// Categories implements rest.CategoriesProvider.
func (s *Store) Categories() []string { return s.categories }

// Store makes the storage of the kind.
func (k Kind[T]) Store(scheme *runtime.Scheme, getter generic.RESTOptionsGetter) (*Store, error) {
	strategy := k.Rules.strategy(scheme, k)
	store := &genericregistry.Store{
		NewFunc:                   func() runtime.Object { return k.New() },
		NewListFunc:               k.NewList,
		PredicateFunc:             k.predicate,
		DefaultQualifiedResource:  k.Resource,
		SingularQualifiedResource: schema.GroupResource{Group: k.Resource.Group, Resource: k.Singular},
		CreateStrategy:            strategy,
		UpdateStrategy:            strategy,
		DeleteStrategy:            strategy.forDelete(),
		ResetFieldsStrategy:       strategy,
		TableConvertor:            k.Table.convertor(k.Resource),
	}
	options := &generic.StoreOptions{
		RESTOptions: getter,
		AttrFunc:    k.attrs,
		TriggerFunc: k.triggers(),
		Indexers:    k.indexers(),
	}
	if err := store.CompleteWithOptions(options); err != nil {
		return nil, fmt.Errorf("making the store of %s: %w", k.Resource, err)
	}
	return &Store{Store: store, shortNames: k.ShortNames, categories: k.Categories}, nil
}

// StatusREST makes the status subresource over the kind's store.
func (k Kind[T]) StatusREST(scheme *runtime.Scheme, store *Store) *Subresource {
	return k.Subresource(scheme, store, *k.Status)
}

// Subresource makes a subresource that is a view of the whole object under
// rules of its own, such as status.
func (k Kind[T]) Subresource(scheme *runtime.Scheme, store *Store, rules Rules[T]) *Subresource {
	strategy := rules.strategy(scheme, k)
	under := *store.Store
	under.UpdateStrategy = strategy
	under.ResetFieldsStrategy = strategy
	return &Subresource{store: &under}
}

func (k Kind[T]) attrs(obj runtime.Object) (labels.Set, fields.Set, error) {
	t, ok := obj.(T)
	if !ok {
		return nil, nil, fmt.Errorf("selecting %s: got a %T", k.Resource, obj)
	}
	set := fields.Set{"metadata.name": t.GetName()}
	if k.Namespaced {
		set["metadata.namespace"] = t.GetNamespace()
	}
	if k.Fields != nil {
		maps.Copy(set, k.Fields(t))
	}
	return labels.Set(t.GetLabels()), set, nil
}

func (k Kind[T]) predicate(label labels.Selector, field fields.Selector) storage.SelectionPredicate {
	return storage.SelectionPredicate{Label: label, Field: field, GetAttrs: k.attrs, IndexFields: k.Index}
}

func (k Kind[T]) field(name string) func(runtime.Object) string {
	return func(obj runtime.Object) string {
		t := obj.(T)
		if name == "metadata.name" {
			return t.GetName()
		}
		return k.Fields(t)[name]
	}
}

func (k Kind[T]) triggers() storage.IndexerFuncs {
	if k.Trigger == "" {
		return nil
	}
	return storage.IndexerFuncs{k.Trigger: k.field(k.Trigger)}
}

func (k Kind[T]) indexers() *cache.Indexers {
	indexers := cache.Indexers{}
	for _, name := range k.Index {
		value := k.field(name)
		indexers[storage.FieldIndex(name)] = func(obj any) ([]string, error) {
			o, ok := obj.(runtime.Object)
			if !ok {
				return nil, fmt.Errorf("indexing %s: got a %T", k.Resource, obj)
			}
			return []string{value(o)}, nil
		}
	}
	return &indexers
}

var _ rest.ShortNamesProvider = (*Store)(nil)
var _ rest.CategoriesProvider = (*Store)(nil)
