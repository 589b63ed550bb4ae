package container

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/supervisor"
)

// sandbox is one sandbox in memory. Operations that change it hold mu; readers
// take the record, which is never changed in place.
type sandbox struct {
	mu  sync.Mutex
	rec atomic.Pointer[sandboxRecord]
	// stopped is closed when pause has ended.
	stopped     chan struct{}
	stoppedOnce sync.Once
}

func newSandbox(rec *sandboxRecord) *sandbox {
	b := &sandbox{stopped: make(chan struct{})}
	b.rec.Store(rec)
	return b
}

func (b *sandbox) markStopped() { b.stoppedOnce.Do(func() { close(b.stopped) }) }

// ctr is one container in memory; see sandbox.
type ctr struct {
	mu     sync.Mutex
	rec    atomic.Pointer[containerRecord]
	exited chan struct{}
	once   sync.Once
	// spec is what CreateContainer found the container to be; it is made again
	// from the record after a restart.
	spec *specs.Spec
	// held are the pipes of one that runs.
	held *supervisor.Held
	// forgotten: the supervisor has nothing of it any more.
	forgotten bool
}

func newContainer(rec *containerRecord) *ctr {
	c := &ctr{exited: make(chan struct{})}
	c.rec.Store(rec)
	if rec.State == runtimeapi.ContainerState_CONTAINER_EXITED {
		c.markExited()
	}
	return c
}

func (c *ctr) markExited() { c.once.Do(func() { close(c.exited) }) }

// change saves and publishes a changed copy of the record. The caller holds c.mu.
func (s *Service) change(c *ctr, edit func(*containerRecord)) error {
	next := *c.rec.Load()
	edit(&next)
	c.rec.Store(&next)
	return s.saveRecord(s.containerDir(next.ID), &next)
}

func (s *Service) changeSandbox(b *sandbox, edit func(*sandboxRecord)) error {
	next := *b.rec.Load()
	edit(&next)
	b.rec.Store(&next)
	return s.saveRecord(s.sandboxDir(next.ID), &next)
}

func newID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// reserve takes a name for id, so that two calls for the same attempt of the
// same thing do not make two.
func (s *Service) reserve(name, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if other, taken := s.names[name]; taken && other != id {
		return status.Errorf(codes.AlreadyExists, "name %q is reserved for %q", name, other)
	}
	s.names[name] = id
	return nil
}

func (s *Service) releaseName(name, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names[name] == id {
		delete(s.names, name)
	}
}

func sandboxName(m *runtimeapi.PodSandboxMetadata) string {
	return fmt.Sprintf("sandbox %s_%s_%s_%d", m.GetName(), m.GetNamespace(), m.GetUid(), m.GetAttempt())
}

func containerName(sandboxID string, m *runtimeapi.ContainerMetadata) string {
	return fmt.Sprintf("container %s_%s_%d", sandboxID, m.GetName(), m.GetAttempt())
}

// findSandbox takes an id or an unambiguous beginning of one, as crictl gives.
func (s *Service) findSandbox(id string) (*sandbox, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return lookup(s.sandboxes, id, "sandbox")
}

func (s *Service) findContainer(id string) (*ctr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return lookup(s.containers, id, "container")
}

func lookup[T any](table map[string]*T, id, what string) (*T, error) {
	if found := table[id]; found != nil {
		return found, nil
	}
	var match *T
	for full, v := range table {
		if id == "" || !strings.HasPrefix(full, id) {
			continue
		}
		if match != nil {
			return nil, status.Errorf(codes.InvalidArgument, "%s id %q is ambiguous", what, id)
		}
		match = v
	}
	if match == nil {
		return nil, status.Errorf(codes.NotFound, "%s %q not found", what, id)
	}
	return match, nil
}

// containersOf are the containers of a sandbox.
func (s *Service) containersOf(sandboxID string) []*ctr {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*ctr
	for _, c := range s.containers {
		if c.rec.Load().SandboxID == sandboxID {
			all = append(all, c)
		}
	}
	return all
}

func (s *Service) allSandboxes() []*sandbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*sandbox, 0, len(s.sandboxes))
	for _, b := range s.sandboxes {
		all = append(all, b)
	}
	return all
}

func (s *Service) allContainers() []*ctr {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*ctr, 0, len(s.containers))
	for _, c := range s.containers {
		all = append(all, c)
	}
	return all
}

// undo is the list of what a failed operation takes back, last first.
type undo []func()

func (u *undo) add(f func()) { *u = append(*u, f) }

func (u undo) run() {
	for _, f := range slices.Backward(u) {
		f()
	}
}
