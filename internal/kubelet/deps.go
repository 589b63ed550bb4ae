package kubelet

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/netip"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
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
	// PodCIDR is set on the node, if valid.
	PodCIDR netip.Prefix
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

	// Drain takes a pod's address out of the node's Services and returns when
	// the kernel knows: called before the processes of a pod that ends hear of
	// it, so that no new connection meets a closed port. Optional.
	Drain func(ctx context.Context, pod netip.Addr) error

	// AwaitImages returns when what may still bring an image without a registry
	// has come to its end: called before an image is pulled. Optional.
	AwaitImages func(ctx context.Context) error

	// Needs names components that must be ready first.
	Needs []string
	// Log is optional.
	Log *slog.Logger
}

func (d *Deps) check() error {
	if d.MaxPods == 0 {
		d.MaxPods = 110
	}
	switch {
	case d.Client == nil || d.Informers == nil:
		return errors.New("kubelet: a client and informers are required")
	case d.Runtime == nil || d.Images == nil || d.Events == nil:
		return errors.New("kubelet: a container runtime is required")
	case d.NodeName == "" || len(d.NodeIPs) == 0:
		return errors.New("kubelet: the node's name and address are required")
	case d.DataDir == "" || d.LogDir == "" || d.CgroupParent == "":
		return errors.New("kubelet: the directories and the cgroup are required")
	}
	return nil
}
