package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/supervisor"
)

// loadRecords fills the tables from disk. A record that cannot be read is
// removed with a warning; it never stops the rest.
func (s *Service) loadRecords() {
	eachDir(s.sandboxesDir(), func(id, dir string) {
		rec := &sandboxRecord{}
		err := loadRecord(dir, rec)
		if err == nil {
			err = whole(id, rec.ID, rec.Config.GetMetadata() != nil)
		}
		if err != nil {
			s.discard("sandbox", id, dir, err)
			return
		}
		if rec.BootID != s.bootID {
			rec.Ready = false
		}
		s.sandboxes[id] = newSandbox(rec)
		s.names[sandboxName(rec.Config.GetMetadata())] = id
	})
	eachDir(s.containersDir(), func(id, dir string) {
		rec := &containerRecord{}
		err := loadRecord(dir, rec)
		if err == nil {
			err = whole(id, rec.ID, rec.Config.GetMetadata() != nil)
		}
		if err == nil && s.sandboxes[rec.SandboxID] == nil {
			err = fmt.Errorf("its sandbox %q is not there (lost, or removed because its own record was damaged)", rec.SandboxID)
		}
		if err != nil {
			s.discard("container", id, dir, err)
			return
		}
		if rec.BootID != s.bootID && rec.State != runtimeapi.ContainerState_CONTAINER_EXITED {
			lost(rec)
		}
		s.containers[id] = newContainer(rec)
		s.names[containerName(rec.SandboxID, rec.Config.GetMetadata())] = id
	})
}

// whole tells what is wrong with a record that could be read.
func whole(id, named string, hasMetadata bool) error {
	switch {
	case named != id:
		return fmt.Errorf("it is of %q", named)
	case !hasMetadata:
		return errors.New("it has no metadata")
	}
	return nil
}

// lost marks a container that no one has seen end.
func lost(rec *containerRecord) {
	exitedAs(rec, supervisor.Exit{Code: supervisor.UnknownExitCode, Unknown: true, At: time.Now()})
}

func eachDir(parent string, visit func(id, dir string)) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, e := range entries {
		visit(e.Name(), filepath.Join(parent, e.Name()))
	}
}

// discard removes what has no whole record: the remains of a call that never
// answered, or a record that the disk lost.
func (s *Service) discard(kind, id, dir string, cause error) {
	if !errors.Is(cause, os.ErrNotExist) {
		s.log.Warn("record cannot be used; what it tells of is ended and removed, and its pod is made anew", "kind", kind, "id", id, "err", cause)
	}
	if err := removeDir(dir); err != nil {
		s.log.Warn("directory without a record not removed", "dir", dir, "err", err)
	}
}

// follower handles the supervisor's events. After the first list it recovers
// and calls ready; lists after a reconnection are compared as well.
func (s *Service) follower(ctx context.Context, ready func()) func(supervisor.Event) {
	states := map[string]*supervisor.Container{}
	first := true
	return func(e supervisor.Event) {
		switch {
		case e.Initial:
			states[e.Container.ID] = e.Container
		case e.Synced:
			s.compare(ctx, states, first)
			states = map[string]*supervisor.Container{}
			if first {
				first = false
				ready()
			}
		case e.Deleted:
		case e.Container != nil:
			s.hear(ctx, e.Container)
		}
	}
}

// hear handles one container's state. Slow work goes on beside the stream.
func (s *Service) hear(ctx context.Context, state *supervisor.Container) {
	if state.Phase != supervisor.PhaseExited {
		return
	}
	s.mu.Lock()
	c, b := s.containers[state.ID], s.sandboxes[state.ID]
	s.mu.Unlock()
	switch {
	case c != nil:
		go s.settle(context.WithoutCancel(ctx), c, state)
	case b != nil:
		go s.settleSandbox(b, state)
	}
}

// compare brings the tables in line with what the supervisor has.
func (s *Service) compare(ctx context.Context, states map[string]*supervisor.Container, first bool) {
	var wg sync.WaitGroup
	for _, b := range s.allSandboxes() {
		wg.Go(func() { s.compareSandbox(ctx, b, states[b.rec.Load().ID]) })
	}
	for _, c := range s.allContainers() {
		wg.Go(func() { s.compareContainer(ctx, c, states[c.rec.Load().ID]) })
	}
	wg.Wait()
	if first {
		s.sweep(ctx, states)
	}
}

// ask looks once more for what the supervisor's list did not have: it may have begun after the list was made. It
// reports false when the supervisor cannot tell; the list of the next connection will.
func (s *Service) ask(ctx context.Context, id string, state *supervisor.Container) (*supervisor.Container, bool) {
	if state != nil {
		return state, true
	}
	got, err := s.sup.Get(ctx, id)
	if errors.Is(err, supervisor.ErrNotFound) {
		return nil, true
	}
	if err != nil {
		s.log.Warn("state of a container not read", "container", id, "err", err)
		return nil, false
	}
	return &got, true
}

func (s *Service) compareSandbox(ctx context.Context, b *sandbox, state *supervisor.Container) {
	rec := b.rec.Load()
	if rec.Ready {
		var known bool
		if state, known = s.ask(ctx, rec.ID, state); !known {
			return
		}
	}
	switch {
	case !rec.Ready:
		b.markStopped()
	case state == nil:
		s.settleSandbox(b, &supervisor.Container{Exit: &supervisor.Exit{Code: supervisor.UnknownExitCode, Unknown: true, At: time.Now()}})
	case state.Phase == supervisor.PhaseExited:
		s.settleSandbox(b, state)
	}
}

func (s *Service) compareContainer(ctx context.Context, c *ctr, state *supervisor.Container) {
	rec := c.rec.Load()
	if rec.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
		var known bool
		if state, known = s.ask(ctx, rec.ID, state); !known {
			return
		}
	}
	switch {
	case rec.State == runtimeapi.ContainerState_CONTAINER_EXITED:
		if state != nil {
			_ = s.sup.Delete(ctx, rec.ID, true)
		}
	case state == nil && rec.State == runtimeapi.ContainerState_CONTAINER_RUNNING:
		s.settle(ctx, c, &supervisor.Container{Exit: &supervisor.Exit{Code: supervisor.UnknownExitCode, Unknown: true, At: time.Now()}})
	case state == nil:
	case state.Phase == supervisor.PhaseExited:
		s.settle(ctx, c, state)
	case state.Phase == supervisor.PhaseRunning:
		s.findRunning(c, state)
	}
}

// findRunning takes over a container that a skiff before this one started.
func (s *Service) findRunning(c *ctr, state *supervisor.Container) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := *c.rec.Load()
	if next.State == runtimeapi.ContainerState_CONTAINER_CREATED {
		next.State, next.PID, next.StartedAt = runtimeapi.ContainerState_CONTAINER_RUNNING, state.PID, state.StartedAt
		c.rec.Store(&next)
	}
	if c.held == nil && next.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
		c.held = s.sup.Hold(next.ID)
	}
}

// sweep ends what nobody asked for any more: containers of the supervisor
// without a record (their create was never answered), addresses and mounts of
// sandboxes that are gone, leases of images.
func (s *Service) sweep(ctx context.Context, states map[string]*supervisor.Container) {
	for id, state := range states {
		if s.containers[id] != nil || s.sandboxes[id] != nil || state.Labels[labelKind] == "" {
			continue
		}
		s.log.Warn("container without a record is ended", "container", id)
		if err := s.sup.Delete(ctx, id, true); err != nil {
			s.log.Warn("container without a record not ended", "container", id, "err", err)
		}
	}
	var live, leases []string
	for id, b := range s.sandboxes {
		if b.rec.Load().Ready {
			live = append(live, id)
		}
	}
	for id, c := range s.containers {
		leases = append(append(leases, id), imageLeases(c.rec.Load())...)
	}
	if s.deps.Network != nil {
		if err := s.deps.Network.Recover(ctx, live); err != nil {
			s.log.Warn("network of former sandboxes not cleared", "err", err)
		}
	}
	if s.deps.Images != nil {
		s.deps.Images.RetainLeases(leases)
	}
	eachDir(filepath.Join(s.deps.RunDir, "sandboxes"), func(id, _ string) {
		if b := s.sandboxes[id]; b == nil || !b.rec.Load().Ready {
			s.unmountShm(id)
		}
	})
}
