package apiserver

import (
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"go.skiff.dev/skiff/internal/apiserver/resource"
)

func newScheme() (*runtime.Scheme, serializer.CodecFactory) {
	scheme := resource.NewScheme()
	return scheme, resource.NewCodecs(scheme)
}

// dropManagedFields keeps the field owners out of the informers: nothing in the
// process reads them, and they are a third of a typical object.
func dropManagedFields(obj any) (any, error) {
	if m, err := meta.Accessor(obj); err == nil {
		m.SetManagedFields(nil)
	}
	return obj, nil
}
