package resource

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"skiff.dev/skiff/internal/apiserver/resource/config"
	"skiff.dev/skiff/internal/apiserver/resource/kind"
	"skiff.dev/skiff/internal/apiserver/resource/pod"
)

// resources are the kinds served, in the order they are made.
func resources() []resource {
	return []resource{
		plain(config.ConfigMap()),
		{kinds: pods},
	}
}

// resource makes the storages of one kind or of one family of kinds, by group
// version and by path ("pods", "pods/status").
type resource struct {
	kinds func(*builder) error
}

// builder collects the storages.
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

// plain is a kind without subresources but status.
func plain[T kind.Object](k kind.Kind[T]) resource {
	return resource{kinds: func(b *builder) error {
		_, err := serve(b, k)
		return err
	}}
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

func pods(b *builder) error {
	_, err := serve(b, pod.Kind())
	return err
}

// Groups returns the built-in API groups, ready to install: the core group
// (its version has no group) with InstallLegacyAPIGroup, the others with
// InstallAPIGroups.
func Groups(deps Deps) ([]*genericapiserver.APIGroupInfo, error) {
	b := &builder{Deps: deps, storages: map[schema.GroupVersion]map[string]rest.Storage{}}
	for _, r := range resources() {
		if err := r.kinds(b); err != nil {
			return nil, fmt.Errorf("making the built-in kinds: %w", err)
		}
	}
	var groups []*genericapiserver.APIGroupInfo
	for _, gv := range deps.Scheme.PrioritizedVersionsAllGroups() {
		storages, ok := b.storages[gv]
		if !ok {
			continue
		}
		info := genericapiserver.NewDefaultAPIGroupInfo(gv.Group, deps.Scheme, ParameterCodec(deps.Scheme), deps.Codecs)
		info.OptionsExternalVersion = &schema.GroupVersion{Version: "v1"}
		info.MetaGroupVersion = &metav1.SchemeGroupVersion
		info.VersionedResourcesStorageMap = map[string]map[string]rest.Storage{gv.Version: storages}
		groups = append(groups, &info)
	}
	return groups, nil
}
