package reconcile

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// byController is the index from a controller's uid to the objects it owns, and
// from "/NAMESPACE" to the objects of a namespace that nobody controls.
const byController = "controller"

// IndexByController adds the index that ControlledBy reads. It may be called
// for the same informer several times, before the informer starts.
func IndexByController(informer cache.SharedIndexInformer) error {
	if _, ok := informer.GetIndexer().GetIndexers()[byController]; ok {
		return nil
	}
	err := informer.AddIndexers(cache.Indexers{byController: func(object any) ([]string, error) {
		o := metaOf(object)
		if o == nil {
			return nil, nil
		}
		if owner := metav1.GetControllerOfNoCopy(o); owner != nil {
			return []string{string(owner.UID)}, nil
		}
		return []string{"/" + o.GetNamespace()}, nil
	}})
	if err != nil {
		return fmt.Errorf("adding the controller index: %w", err)
	}
	return nil
}

// ControlledBy returns the cached objects whose controller has the uid. They
// are shared: read only.
func ControlledBy[T any](indexer cache.Indexer, uid types.UID) ([]T, error) {
	return indexed[T](indexer, string(uid))
}

// Uncontrolled returns the cached objects of the namespace that have no controller.
func Uncontrolled[T any](indexer cache.Indexer, namespace string) ([]T, error) {
	return indexed[T](indexer, "/"+namespace)
}

func indexed[T any](indexer cache.Indexer, value string) ([]T, error) {
	objects, err := indexer.ByIndex(byController, value)
	if err != nil {
		return nil, fmt.Errorf("reading the controller index: %w", err)
	}
	list := make([]T, 0, len(objects))
	for _, object := range objects {
		if o, ok := object.(T); ok {
			list = append(list, o)
		}
	}
	return list, nil
}
