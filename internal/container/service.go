package container

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/image"
	"go.skiff.dev/skiff/internal/lifecycle"
	"go.skiff.dev/skiff/internal/supervisor"
)

// Network gives sandboxes their addresses.
type Network interface {
	// Attach connects the namespace to the pod network; id is the sandbox's.
	Attach(ctx context.Context, id string, netns *os.File, opts NetworkOptions) (Attachment, error)
	// Detach gives back what Attach took; unknown ids are no error.
	Detach(ctx context.Context, id string) error
	// Recover keeps the sandboxes in ids and detaches all others.
	Recover(ctx context.Context, ids []string) error
}

// NetworkOptions are what a sandbox asks of its network.
type NetworkOptions struct {
	PortMappings []PortMapping
}

// PortMapping publishes a port of the pod on the host.
type PortMapping struct {
	// Protocol is TCP, UDP or SCTP.
	Protocol                string
	HostPort, ContainerPort uint16
	// HostIP limits it to one address of the host; empty means all.
	HostIP string
}

// Attachment is a sandbox's place in the network.
type Attachment struct {
	// IPs has the primary address first.
	IPs           []netip.Addr
	HostInterface string
}

// Deps are what the container layer stands on.
type Deps struct {
	// Dir holds the state and the writable layers of sandboxes and containers;
	// RunDir mounts and files that do not survive a reboot.
	Dir, RunDir string
	// CgroupParent is where sandboxes go that name no cgroup parent.
	CgroupParent string
	// LogMaxSize in bytes (default 10 MiB) starts a new log file, LogMaxFiles
	// are kept (default 5).
	LogMaxSize  int64
	LogMaxFiles int
	// Supervisor says where the parent of the containers is and how to start
	// it; its Exe is also what pause is made of.
	Supervisor supervisor.Options
	Images     *image.Store
	Network    Network
	// Handlers are the programs of OCI runtimes by the names under which
	// RuntimeClasses ask for them, beside skiff's own.
	Handlers map[string]string
	// Version of skiff, for the CRI's Version call.
	Version string
	// Needs names components that must be ready first.
	Needs []string
	// Log is optional.
	Log *slog.Logger
}

// Service is the CRI. It implements runtimeapi.RuntimeServiceServer and
// runtimeapi.ImageServiceServer.
type Service struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	runtimeapi.UnimplementedImageServiceServer

	deps   Deps
	log    *slog.Logger
	bootID string
	sup    *supervisor.Client
	hub    hub
	cpu    cpuRates
	behind behind
	// hostOnce reads what does not change while the node runs.
	hostOnce func() hostFacts

	// mu guards the tables only; no slow work is done under it.
	mu         sync.Mutex
	sandboxes  map[string]*sandbox
	containers map[string]*ctr
	names      map[string]string // reserved name -> id
	idMappings map[string]*idMapping
}

// New makes the service; Component recovers its state and runs it.
func New(deps Deps) (*Service, error) {
	if deps.Dir == "" || deps.RunDir == "" || deps.Supervisor.Socket == "" {
		return nil, fmt.Errorf("container layer needs Dir, RunDir and Supervisor")
	}
	if deps.LogMaxSize == 0 {
		deps.LogMaxSize = 10 << 20
	}
	if deps.LogMaxFiles == 0 {
		deps.LogMaxFiles = 5
	}
	if deps.CgroupParent == "" {
		deps.CgroupParent = "/skiff"
	}
	if deps.Log == nil {
		deps.Log = slog.Default()
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("reading the boot id: %w", err)
	}
	return &Service{
		deps: deps, log: deps.Log.With("component", "container"), bootID: strings.TrimSpace(string(boot)),
		hostOnce:  sync.OnceValue(readHost),
		sup:       supervisor.NewClient(deps.Supervisor),
		sandboxes: map[string]*sandbox{}, containers: map[string]*ctr{}, names: map[string]string{}, idMappings: map[string]*idMapping{},
	}, nil
}

// Component connects to the supervisor, recovers every sandbox and container,
// and is ready when calls can be answered truthfully.
func (s *Service) Component() lifecycle.Component {
	return lifecycle.Component{Name: "container", Needs: s.deps.Needs, Run: s.run}
}

func (s *Service) run(ctx context.Context, ready func()) error {
	for _, dir := range []string{s.sandboxesDir(), s.containersDir(), s.deps.RunDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("making the container directory: %w", err)
		}
	}
	if err := s.installPause(); err != nil {
		return err
	}
	if err := s.installPlaces(); err != nil {
		return err
	}
	s.loadRecords()
	defer s.letGo()
	if err := s.connect(ctx); err != nil {
		return err
	}
	return s.sup.Events(ctx, s.follower(ctx, ready))
}

// letGo leaves the containers to the next skiff.
func (s *Service) letGo() {
	for _, c := range s.allContainers() {
		c.mu.Lock()
		c.held.Release()
		c.mu.Unlock()
	}
}

// connect finds the supervisor or starts one. One that runs an older program is
// replaced; if that fails, it is as good as before.
func (s *Service) connect(ctx context.Context) error {
	client, err := supervisor.Connect(ctx, s.deps.Supervisor)
	if err != nil {
		return err
	}
	if !s.renewed(ctx, client.Renew) {
		go s.renewLater(ctx, client.Renew)
	}
	return nil
}

// renewPause is how long a supervisor that could not be replaced is left alone: what is under way there, such as a call of
// another runtime that hangs, ends in minutes.
const renewPause = time.Minute

func (s *Service) renewLater(ctx context.Context, renew func(context.Context) (bool, error)) {
	for {
		select {
		case <-time.After(renewPause):
		case <-ctx.Done():
			return
		}
		if s.renewed(ctx, renew) {
			return
		}
	}
}

// renewed replaces the supervisor's program where another one runs. It reports false where that has to be tried again.
func (s *Service) renewed(ctx context.Context, renew func(context.Context) (bool, error)) bool {
	did, err := renew(ctx)
	if err != nil {
		s.log.Warn("supervisor not renewed; it is tried again", "after", renewPause, "err", err)
		return false
	}
	if did {
		s.log.Info("supervisor renewed in place")
	}
	return true
}

func (s *Service) sandboxesDir() string  { return filepath.Join(s.deps.Dir, "sandboxes") }
func (s *Service) containersDir() string { return filepath.Join(s.deps.Dir, "containers") }

// sandboxDir holds a sandbox's record and files; sandboxRun its mounts.
func (s *Service) sandboxDir(id string) string { return filepath.Join(s.sandboxesDir(), id) }
func (s *Service) sandboxRun(id string) string {
	return filepath.Join(s.deps.RunDir, "sandboxes", id)
}
func (s *Service) containerDir(id string) string { return filepath.Join(s.containersDir(), id) }

func (s *Service) pauseRoot() string { return filepath.Join(s.deps.RunDir, "pause") }
