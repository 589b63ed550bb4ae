package apiserver

import (
	"fmt"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	flowcontrolrequest "k8s.io/apiserver/pkg/util/flowcontrol/request"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"go.skiff.dev/skiff/internal/apiserver/resource"
	"go.skiff.dev/skiff/internal/store"
)

const (
	// keyPrefix starts every key, as with upstream.
	keyPrefix = "/registry"
	// compactInterval is how much history watches and continued lists may
	// rely on: upstream's value.
	compactInterval = 5 * time.Minute
	// deleteWorkers is how many objects of a collection are deleted at once:
	// upstream's value is 1, which makes a namespace of 1,000 pods slow.
	deleteWorkers = 8
)

// storages makes the storage of each resource. Each has a client that calls the
// store inside the process (the factory in k8s.io/apiserver opens a connection
// for every resource, with its buffers at both ends); its own, so that each
// resource's watch is a stream of its own and hears of its own progress only.
type storages struct {
	scheme    *runtime.Scheme
	codecs    serializer.CodecFactory
	store     *store.Store
	health    clientv3.KV
	compactor etcd3.Compactor
	stop      func()
	counts    flowcontrolrequest.StorageObjectCountTracker
	caches    []*cacher.CacheDelegator
}

func newStorages(scheme *runtime.Scheme, codecs serializer.CodecFactory, db *store.Store, counts flowcontrolrequest.StorageObjectCountTracker) (*storages, error) {
	client, err := db.Client()
	if err != nil {
		return nil, err
	}
	announceProgress(client.Ctx(), client)
	compactor := etcd3.NewCompactor(client, compactInterval, clock.RealClock{}, func() {})
	stop := func() {
		compactor.Stop()
		client.Close()
	}
	return &storages{scheme: scheme, codecs: codecs, store: db, health: client, compactor: compactor, stop: sync.OnceFunc(stop), counts: counts}, nil
}

// keys are the resources whose keys upstream spells unlike their names; data
// written by one is readable by the other.
func keys() map[schema.GroupResource]string {
	return map[schema.GroupResource]string{
		{Resource: "nodes"}:                                       "minions",
		{Resource: "services"}:                                    "services/specs",
		{Resource: "endpoints"}:                                   "services/endpoints",
		{Resource: "replicationcontrollers"}:                      "controllers",
		{Group: "networking.k8s.io", Resource: "ingresses"}:       "ingress",
		{Group: "networking.k8s.io", Resource: "networkpolicies"}: "networkpolicies",
	}
}

// uncached are the resources without a watch cache, because they are written
// often and read seldom: events, as upstream does, and the claims by which
// services hold addresses and ports (package resource/service).
func uncached() []schema.GroupResource {
	return []schema.GroupResource{
		{Resource: "events"},
		{Group: "coordination.k8s.io", Resource: "serviceclaims"},
	}
}

// GetRESTOptions implements generic.RESTOptionsGetter.
func (s *storages) GetRESTOptions(res schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	codec, err := s.codec(res, example)
	if err != nil {
		return generic.RESTOptions{}, err
	}
	cfg := storagebackend.NewDefaultConfig(keyPrefix, codec)
	cfg.StorageObjectCountTracker = s.counts
	prefix, ok := keys()[res]
	if !ok {
		prefix = res.Resource
	}
	opts := generic.RESTOptions{
		StorageConfig:             cfg.ForResource(res),
		Decorator:                 s.cached,
		EnableGarbageCollection:   true,
		DeleteCollectionWorkers:   deleteWorkers,
		ResourcePrefix:            prefix,
		StorageObjectCountTracker: s.counts,
	}
	if slices.Contains(uncached(), res) {
		opts.Decorator = s.raw
	}
	return opts, nil
}

// codec writes protobuf of the version that the example has, and reads what was
// written into the same Go type.
func (s *storages) codec(res schema.GroupResource, example runtime.Object) (runtime.Codec, error) {
	gv := schema.GroupVersion{Group: res.Group, Version: "v1"}
	if example != nil {
		kinds, _, err := s.scheme.ObjectKinds(example)
		if err != nil {
			return nil, fmt.Errorf("finding the stored version of %s: %w", res, err)
		}
		for _, k := range kinds {
			if k.Version != runtime.APIVersionInternal {
				gv = k.GroupVersion()
				break
			}
		}
	}
	wire := protobuf.NewSerializer(s.scheme, s.scheme)
	codec := resource.StorageSerializer(s.codecs)
	internal := schema.GroupVersion{Group: gv.Group, Version: runtime.APIVersionInternal}
	encoder := codec.EncoderForVersion(wire, gv)
	decoder := codec.DecoderToVersion(codec.UniversalDeserializer(), internal)
	return runtime.NewCodec(encoder, decoder), nil
}

// raw is a storage without a watch cache.
func (s *storages) raw(cfg *storagebackend.ConfigForResource, resourcePrefix string, _ func(runtime.Object) (string, error),
	newFunc, newListFunc func() runtime.Object, _ storage.AttrFunc, _ storage.IndexerFuncs, _ *cache.Indexers) (storage.Interface, factory.DestroyFunc, error) {
	return s.open(cfg, resourcePrefix, newFunc, newListFunc)
}

func (s *storages) open(cfg *storagebackend.ConfigForResource, resourcePrefix string, newFunc, newListFunc func() runtime.Object) (storage.Interface, factory.DestroyFunc, error) {
	client, err := s.store.Client()
	if err != nil {
		return nil, nil, err
	}
	wrapped := &kubernetes.Client{Client: client}
	wrapped.Kubernetes = wrapped
	versioner := storage.APIObjectVersioner{}
	opened, err := etcd3.New(wrapped, s.compactor, cfg.Codec, newFunc, newListFunc, cfg.Prefix, resourcePrefix, cfg.GroupResource,
		identity.NewEncryptCheckTransformer(), cfg.LeaseManagerConfig, etcd3.NewDefaultDecoder(cfg.Codec, versioner), versioner)
	if err != nil {
		client.Close()
		return nil, nil, fmt.Errorf("opening the storage of %s: %w", cfg.GroupResource, err)
	}
	return opened, sync.OnceFunc(func() {
		opened.Close()
		client.Close()
	}), nil
}

// cached is a storage behind a watch cache.
func (s *storages) cached(cfg *storagebackend.ConfigForResource, resourcePrefix string, keyFunc func(runtime.Object) (string, error),
	newFunc, newListFunc func() runtime.Object, attrs storage.AttrFunc, triggers storage.IndexerFuncs, indexers *cache.Indexers) (storage.Interface, factory.DestroyFunc, error) {
	opened, destroy, err := s.open(cfg, resourcePrefix, newFunc, newListFunc)
	if err != nil {
		return nil, nil, err
	}
	raw := promptStorage{opened}
	c, err := cacher.NewCacherFromConfig(cacher.Config{
		Storage:             raw,
		Versioner:           storage.APIObjectVersioner{},
		GroupResource:       cfg.GroupResource,
		EventsHistoryWindow: cfg.EventsHistoryWindow,
		ResourcePrefix:      resourcePrefix,
		KeyFunc:             keyFunc,
		NewFunc:             newFunc,
		NewListFunc:         newListFunc,
		GetAttrsFunc:        attrs,
		IndexerFuncs:        triggers,
		Indexers:            indexers,
		Codec:               cfg.Codec,
		Clock:               coarseClock{},
	})
	if err != nil {
		destroy()
		return nil, nil, fmt.Errorf("opening the watch cache of %s: %w", cfg.GroupResource, err)
	}
	delegator := cacher.NewCacheDelegator(c, raw)
	s.caches = append(s.caches, delegator)
	return patientStorage{delegator}, sync.OnceFunc(func() {
		delegator.Stop()
		c.Stop()
		destroy()
	}), nil
}
