package container

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"

	"skiff.dev/skiff/internal/lifecycle"
	"skiff.dev/skiff/internal/supervisor"
)

// Network gives sandboxes their addresses.
type Network interface {
	// Attach connects the namespace to the pod network; id is the sandbox's.
	Attach(ctx context.Context, id string, netns *os.File, opts NetworkOptions) (Attachment, error)
	// Detach gives back what Attach took; unknown ids are no error.
	Detach(ctx context.Context, id string) error
	// Recover forgets the addresses of sandboxes that are not in ids.
	Recover(ctx context.Context, ids []string) error
}

// NetworkOptions are what a sandbox asks of its network.
type NetworkOptions struct {
	PortMappings []PortMapping
}

// PortMapping publishes a port of the pod on the host.
type PortMapping struct {
	Protocol                string // tcp, udp or sctp
	HostPort, ContainerPort uint16
	HostIP                  string
}

// Attachment is a sandbox's place in the network.
type Attachment struct {
	IPs           []netip.Addr
	HostInterface string
}

// Deps are what the container layer stands on.
type Deps struct {
	// Dir holds the state and the writable layers of sandboxes and containers;
	// RunDir what does not survive a reboot.
	Dir, RunDir string
	// CgroupParent is where sandboxes without a cgroup parent go.
	CgroupParent string
	// Log limits: bytes per file (default 10 MiB) and files kept (default 5).
	LogMaxSize  int64
	LogMaxFiles int
	// Supervisor says where the parent of the containers is, or how to start it.
	Supervisor supervisor.Options
	// Exe is the skiff-oci program as a path usable by pause.
	Images  Images
	Network Network
	Log     *slog.Logger
}

// Images is what the container layer needs of the image store.
type Images interface{}

// Service is the CRI. It implements runtimeapi.RuntimeServiceServer and
// runtimeapi.ImageServiceServer.
type Service struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	runtimeapi.UnimplementedImageServiceServer
	deps Deps
}

// New makes the service; Component recovers its state and runs it.
func New(deps Deps) (*Service, error) { return nil, errors.New("not there yet") }

// Component connects to the supervisor, recovers every sandbox and container,
// and is ready when calls can be answered truthfully.
func (s *Service) Component() lifecycle.Component { return lifecycle.Component{Name: "container"} }

// Events subscribes to the changes of containers and sandboxes until ctx ends.
// The channel is closed then. A subscriber that does not read loses nothing but
// memory: events of one container are kept in order.
func (s *Service) Events(ctx context.Context) <-chan *runtimeapi.ContainerEventResponse { return nil }

// Streaming serves exec, attach and port forwarding by streams.
func (s *Service) Streaming() streaming.Runtime { return nil }
