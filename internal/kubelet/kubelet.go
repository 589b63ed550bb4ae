// Package kubelet is the node agent: it registers the node, keeps its lease and
// conditions, and makes the pods that are bound to the node (or that lie in the
// directory of static pods) real through the container runtime interface.
//
// Each pod has one worker goroutine. A worker owns all state of its pod, is
// woken by changes of the pod, by events of the container runtime, by probe
// results, by changed ConfigMaps and Secrets and by its own timers, and then
// looks at the whole level again: observe, plan, act, report. The plan is a
// pure function of what was observed. Nothing is relisted and nothing is polled.
//
// Reads: Pods, Services, ConfigMaps, Secrets, Nodes. Writes: Nodes and their
// status, Leases, Pod status, mirror Pods, Events, ServiceAccount tokens.
package kubelet

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"go.skiff.dev/skiff/internal/kubelet/probe"
	"go.skiff.dev/skiff/internal/kubelet/volume"
	"go.skiff.dev/skiff/internal/lifecycle"
)

// userAgent names the node agent in its requests to pods. Charts and ingress
// controllers know upstream's prefix.
const userAgent = "kube-probe/1.36"

var getOptions = metav1.GetOptions{}

// Kubelet is the node agent.
type Kubelet struct {
	deps     Deps
	log      *slog.Logger
	pods     cache.SharedIndexInformer
	services corelisters.ServiceLister
	synced   []cache.InformerSynced
	objects  *objects
	volumes  *volume.Manager
	tokens   *tokens
	statuses *statusWriter
	events   *events
	asker    *probe.Asker
	resolver resolver
	cgroups  *cgroups
	// userRanges lets one pod at a time look for a free range of users.
	userRanges sync.Mutex
	capacity   *capacity
	admission  *admission
	gate       gate
	static     *staticPods
	node       *nodeStatus
	endings    *endings

	mu      sync.Mutex
	workers map[types.UID]*worker
	wg      sync.WaitGroup
	ctx     context.Context
}

// New checks deps and registers the informers that the node agent reads. It
// starts nothing.
func New(deps Deps) (*Kubelet, error) {
	if err := deps.check(); err != nil {
		return nil, err
	}
	log := deps.Log
	if log == nil {
		log = slog.Default()
	}
	k := &Kubelet{
		deps: deps, log: log.With("component", "kubelet"),
		gate: newGate(), events: &events{}, workers: map[types.UID]*worker{},
		cgroups:  &cgroups{root: deps.CgroupParent},
		resolver: resolver{dns: deps.ClusterDNS, domain: deps.ClusterDomain, host: readHostDNS},
		endings:  newEndings(),
	}
	k.statuses = newStatusWriter(deps.Client, k.log)
	k.objects = newObjects(deps.Client, func(uid types.UID) {
		if w := k.worker(uid); w != nil {
			w.objectChanged()
		}
	})
	k.tokens = newTokens(deps.Client)
	k.volumes = &volume.Manager{Dir: filepath.Join(deps.DataDir, "pods"), Sources: volumeSources{k}}
	k.asker = &probe.Asker{Exec: k.execProbe, UserAgent: userAgent}
	k.capacity = newCapacity(deps)
	k.admission = newAdmission(k.capacity.node, func(uid types.UID) {
		if w := k.worker(uid); w != nil {
			w.tell(func(*inbox) {})
		}
	})
	k.node = newNodeStatus(k)
	k.static = newStaticPods(k)
	k.pods = deps.Informers.Core().V1().Pods().Informer()
	services := deps.Informers.Core().V1().Services()
	k.services = services.Lister()
	k.synced = []cache.InformerSynced{k.pods.HasSynced, services.Informer().HasSynced}
	return k, nil
}

// Component runs the node agent. It is ready when the node is registered and
// its Ready condition is true.
func (k *Kubelet) Component() lifecycle.Component {
	return lifecycle.Component{Name: "kubelet", Needs: k.deps.Needs, Run: k.run}
}

// run starts everything in order: what the node is, what runs on it already,
// what should run on it.
func (k *Kubelet) run(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	k.ctx = ctx
	k.objects.start(ctx)
	if err := os.MkdirAll(filepath.Join(k.deps.DataDir, "pods"), 0o750); err != nil {
		return fmt.Errorf("making kubelet directory: %w", err)
	}
	if err := k.cgroups.start(); err != nil {
		return err
	}
	stopEvents := k.startEvents()
	defer stopEvents()
	happened := k.deps.Events(ctx)
	server, err := k.startAPI(ctx)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = server.stop() }) // its end is seen by the wait below
	if err := k.node.register(ctx, server.port()); err != nil {
		return err
	}
	k.wg.Go(func() { k.dispatch(ctx, happened) })
	k.wg.Go(func() { k.node.beat(ctx) })
	k.wg.Go(func() { k.admit(ctx) })
	ready()
	<-ctx.Done()
	k.wg.Wait()
	return ctx.Err()
}

// admit waits for the informers and then takes pods in.
func (k *Kubelet) admit(ctx context.Context) {
	if !cache.WaitForCacheSync(ctx.Done(), k.synced...) {
		return
	}
	k.static.load()
	registration, err := k.pods.AddEventHandler(k.podHandler())
	if err != nil {
		k.log.Error("watching pods", "err", err)
		return
	}
	if cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		k.admission.allKnown()
		k.collectOrphans(ctx)
	}
	k.static.watch(ctx)
}

// startEvents sends events to the API server until the returned function is called.
func (k *Kubelet) startEvents() (stop func()) {
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: k.deps.Client.CoreV1().Events("")})
	k.events.recorder = broadcaster.NewRecorder(scheme.Scheme, v1.EventSource{Component: "kubelet", Host: k.deps.NodeName})
	return broadcaster.Shutdown
}

func (k *Kubelet) worker(uid types.UID) *worker {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.workers[uid]
}

// ensureWorker gives the worker of a pod and starts it if need be.
func (k *Kubelet) ensureWorker(uid types.UID) *worker {
	k.mu.Lock()
	defer k.mu.Unlock()
	if w := k.workers[uid]; w != nil {
		return w
	}
	w := newWorker(k, uid)
	k.workers[uid] = w
	k.wg.Go(func() {
		w.run(k.ctx)
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.workers[uid] == w {
			delete(k.workers, uid)
		}
	})
	return w
}
