package resource

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
)

// resource makes the storages of one kind and adds them to the builder.
type resource func(*builder) error

// builder collects the storages by group version and by path ("pods",
// "pods/status").
type builder struct {
	Deps
	storages map[schema.GroupVersion]map[string]rest.Storage
}

func (b *builder) add(gv schema.GroupVersion, path string, storage rest.Storage) {
	if b.storages[gv] == nil {
		b.storages[gv] = map[string]rest.Storage{}
	}
	b.storages[gv][path] = storage
}

// getter is the storage of a kind made before.
func (b *builder) getter(gv schema.GroupVersion, path string) rest.Getter {
	return b.storages[gv][path].(rest.Getter)
}

// plain is a kind without subresources but status.
func plain[T kind.Object](k kind.Kind[T]) resource {
	return func(b *builder) error {
		_, err := serve(b, k)
		return err
	}
}

// serve makes the store of a kind and adds it, and its status if it has one.
func serve[T kind.Object](b *builder, k kind.Kind[T]) (*kind.Store, error) {
	store, err := k.Store(b.Scheme, b.RESTOptionsGetter)
	if err != nil {
		return nil, err
	}
	gv := schema.GroupVersion{Group: k.Resource.Group, Version: k.Version}
	b.add(gv, k.Resource.Resource, store)
	if k.Status != nil {
		b.add(gv, k.Resource.Resource+"/status", k.StatusREST(b.Scheme, store))
	}
	return store, nil
}

// Groups returns the built-in API groups, ready to install: the core group
// (its version has no group) with InstallLegacyAPIGroup, the others with
// InstallAPIGroups.
func Groups(deps Deps) ([]*genericapiserver.APIGroupInfo, error) {
	b := &builder{Deps: deps, storages: map[schema.GroupVersion]map[string]rest.Storage{}}
	for _, add := range resources() {
		if err := add(b); err != nil {
			return nil, fmt.Errorf("making the built-in kinds: %w", err)
		}
	}
	var groups []*genericapiserver.APIGroupInfo
	versions := slices.SortedFunc(maps.Keys(b.storages), func(a, b schema.GroupVersion) int {
		return strings.Compare(a.String(), b.String())
	})
	for _, gv := range versions {
		storages := b.storages[gv]
		info := genericapiserver.NewDefaultAPIGroupInfo(gv.Group, deps.Scheme, ParameterCodec(deps.Scheme), deps.Codecs)
		info.OptionsExternalVersion = &schema.GroupVersion{Version: "v1"}
		info.MetaGroupVersion = &metav1.SchemeGroupVersion
		info.VersionedResourcesStorageMap = map[string]map[string]rest.Storage{gv.Version: storages}
		groups = append(groups, &info)
	}
	return groups, nil
}
