package container

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/supervisor"
)

// StopPodSandbox ends the containers of a sandbox, takes its network away and
// ends pause. It may be called again, and for a sandbox that is not there.
func (s *Service) StopPodSandbox(ctx context.Context, req *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	b, err := s.findSandbox(req.GetPodSandboxId())
	if status.Code(err) == codes.NotFound {
		return &runtimeapi.StopPodSandboxResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	if err := s.stopSandbox(ctx, b); err != nil {
		return nil, statusOf(err, "stopping sandbox %q", req.GetPodSandboxId())
	}
	return &runtimeapi.StopPodSandboxResponse{}, nil
}

func (s *Service) stopSandbox(ctx context.Context, b *sandbox) error {
	id := b.rec.Load().ID
	s.closeSandbox(b)
	if err := s.endContainers(ctx, id); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.deps.Network != nil {
		if err := s.deps.Network.Detach(ctx, id); err != nil {
			return err
		}
	}
	if err := s.sup.Delete(ctx, id, true); err != nil {
		return err
	}
	s.unmountShm(id)
	select {
	case <-b.stopped:
	default:
		b.markStopped()
		s.sendEvent(id, id, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
	}
	return nil
}

// closeSandbox makes a sandbox not ready: nothing new is made or started in it
// while it is taken apart. A disk that is full is no reason to go on running.
func (s *Service) closeSandbox(b *sandbox) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.rec.Load().Ready {
		return
	}
	if err := s.changeSandbox(b, func(r *sandboxRecord) { r.Ready = false }); err != nil {
		s.log.Error("end of a sandbox not recorded", "sandbox", b.rec.Load().ID, "err", err)
	}
}

// endContainers kills what still runs in a sandbox that is closed. A start that
// is under way is waited for; a later one finds the sandbox closed.
func (s *Service) endContainers(ctx context.Context, sandboxID string) error {
	var wg sync.WaitGroup
	all := s.containersOf(sandboxID)
	errs := make([]error, len(all))
	for i, c := range all {
		c.mu.Lock()
		running := c.rec.Load().State == runtimeapi.ContainerState_CONTAINER_RUNNING
		c.mu.Unlock()
		if running {
			wg.Go(func() { errs[i] = s.killContainer(ctx, c) })
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}

// RemovePodSandbox removes a sandbox and its containers. One that is not there
// is no error.
func (s *Service) RemovePodSandbox(ctx context.Context, req *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	b, err := s.findSandbox(req.GetPodSandboxId())
	if status.Code(err) == codes.NotFound {
		return &runtimeapi.RemovePodSandboxResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	if err := s.removeSandbox(ctx, b); err != nil {
		return nil, statusOf(err, "removing sandbox %q", req.GetPodSandboxId())
	}
	return &runtimeapi.RemovePodSandboxResponse{}, nil
}

func (s *Service) removeSandbox(ctx context.Context, b *sandbox) error {
	if err := s.stopSandbox(ctx, b); err != nil {
		return err
	}
	id := b.rec.Load().ID
	for _, c := range s.containersOf(id) {
		if err := s.removeContainer(ctx, c); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s.mu.Lock()
	present := s.sandboxes[id] == b
	s.mu.Unlock()
	if !present {
		return nil
	}
	if err := removeDir(s.sandboxDir(id)); err != nil {
		return err
	}
	s.dropSandbox(id)
	s.releaseName(sandboxName(b.rec.Load().Config.GetMetadata()), id)
	s.sendEvent(id, id, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT)
	return nil
}

// settleSandbox hears that pause has ended: the sandbox is not ready any more.
// Its network and files stay until StopPodSandbox.
func (s *Service) settleSandbox(b *sandbox, state *supervisor.Container) {
	b.mu.Lock()
	defer b.mu.Unlock()
	rec := b.rec.Load()
	if rec.Ready {
		s.log.Warn("pause of a sandbox has ended", "sandbox", rec.ID, "code", state.Exit.Code, "at", state.Exit.At.Format(time.RFC3339))
		if err := s.changeSandbox(b, func(r *sandboxRecord) { r.Ready = false }); err != nil {
			s.log.Error("end of a sandbox not recorded", "sandbox", rec.ID, "err", err)
		}
	}
	select {
	case <-b.stopped:
	default:
		b.markStopped()
		s.sendEvent(rec.ID, rec.ID, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
	}
}
