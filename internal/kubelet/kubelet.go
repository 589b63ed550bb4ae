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
	"crypto/tls"
	"log/slog"
	"net/netip"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"

	"skiff.dev/skiff/internal/lifecycle"
)

// EventSource gives the container runtime's events as they happen. Each event
// carries the state of the whole pod sandbox; a lost event is made up for by
// the next one. The channel is closed when ctx ends.
type EventSource func(ctx context.Context) <-chan *runtimeapi.ContainerEventResponse

// Deps are what the node agent needs from the others. All fields are required
// unless they say otherwise.
type Deps struct {
	// Client acts as system:node:NAME.
	Client kubernetes.Interface
	// Informers is the process's shared factory. New asks it for Pods and
	// Services; the daemon starts it.
	Informers informers.SharedInformerFactory

	// Runtime and Images are the container layer, called in process.
	Runtime runtimeapi.RuntimeServiceServer
	Images  runtimeapi.ImageServiceServer
	// Events are the container layer's events.
	Events EventSource
	// Streaming runs exec, attach and port-forward.
	Streaming streaming.Runtime

	NodeName string
	// NodeIPs are the node's addresses, the primary one first.
	NodeIPs []netip.Addr
	// Port is where the node API listens; 0 picks a free one.
	Port int
	// MaxPods bounds the pods of the node; 0 means 110.
	MaxPods int
	// Version is the version of skiff, e.g. "0.1.0".
	Version string
	// NodeLabels are added to the node's own labels. Optional.
	NodeLabels map[string]string

	// DataDir holds volumes and state of pods, LogDir the containers' logs.
	DataDir, LogDir string
	// StaticPodDir is watched for pod manifests; it may not exist. Optional.
	StaticPodDir string
	// CgroupParent is this skiff's cgroup subtree, e.g. "/skiff".
	CgroupParent string

	// ClusterDNS and ClusterDomain go into the pods' resolv.conf.
	ClusterDNS    netip.Addr
	ClusterDomain string
	// APIServer is what KUBERNETES_SERVICE_HOST and _PORT say while the
	// kubernetes Service has not been seen, e.g. 10.43.0.1:443.
	APIServer netip.AddrPort

	// TLS serves the node API. It holds the serving certificate and, in
	// ClientCAs, the authority of clients. Nil: no node API is served.
	TLS *tls.Config

	// Needs names components that must be ready first.
	Needs []string
	// Log is optional.
	Log *slog.Logger
}

// Kubelet is the node agent.
type Kubelet struct {
	deps Deps
	log  *slog.Logger
}

// New checks deps and registers the informers that the node agent reads. It
// starts nothing.
func New(deps Deps) (*Kubelet, error) {
	if deps.MaxPods == 0 {
		deps.MaxPods = 110
	}
	log := deps.Log
	if log == nil {
		log = slog.Default()
	}
	return &Kubelet{deps: deps, log: log.With("component", "kubelet")}, nil
}

// Component runs the node agent. It is ready when the node is registered and
// its Ready condition is true.
func (k *Kubelet) Component() lifecycle.Component {
	return lifecycle.Component{Name: "kubelet", Needs: k.deps.Needs, Run: k.run}
}

func (k *Kubelet) run(ctx context.Context, ready func()) error {
	ready()
	<-ctx.Done()
	return ctx.Err()
}
