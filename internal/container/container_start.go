package container

import (
	"context"
	"path/filepath"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/supervisor"
)

const (
	// A container whose program could not be started, as containerd reports it.
	startErrorReason = "StartError"
	startErrorCode   = 128

	reasonCompleted = "Completed"
	reasonError     = "Error"
	reasonOOM       = "OOMKilled"
	// reasonUnknown: nobody saw the exit, or the node was restarted.
	reasonUnknown = "ContainerStatusUnknown"
)

// StartContainer runs a created container.
func (s *Service) StartContainer(ctx context.Context, req *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	c, err := s.findContainer(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	rec := c.rec.Load()
	if rec.State != runtimeapi.ContainerState_CONTAINER_CREATED {
		return nil, status.Errorf(codes.FailedPrecondition, "container %q is in state %s, not %s", rec.ID, rec.State, runtimeapi.ContainerState_CONTAINER_CREATED)
	}
	box, err := s.findSandbox(rec.SandboxID)
	if err != nil {
		return nil, err
	}
	if !box.rec.Load().Ready {
		return nil, status.Errorf(codes.FailedPrecondition, "sandbox %q of container %q is not ready", rec.SandboxID, rec.ID)
	}
	if err := s.startContainer(ctx, c, box.rec.Load()); err != nil {
		s.startFailed(c, err)
		return nil, statusOf(err, "starting container %q", rec.Config.GetMetadata().GetName())
	}
	s.sendEvent(rec.ID, rec.SandboxID, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT)
	return &runtimeapi.StartContainerResponse{}, nil
}

// logRoot is where the logs of all pods lie; what is below it a pod may have for a volume.
func logRoot(owner *sandboxRecord) string {
	if dir := owner.Config.GetLogDirectory(); dir != "" {
		return filepath.Dir(filepath.Clean(dir))
	}
	return ""
}

// startContainer asks the supervisor for the process. The caller holds c.mu.
func (s *Service) startContainer(ctx context.Context, c *ctr, owner *sandboxRecord) error {
	rec := c.rec.Load()
	// What was configured when the sandbox was made may not be any more.
	if err := s.knowHandler(owner.Handler); err != nil {
		return err
	}
	if c.spec == nil {
		img, err := s.deps.Images.Resolve(rec.ImageID)
		if err != nil {
			return err
		}
		if c.spec, err = buildSpec(s.specInput(rec, owner, img)); err != nil {
			return err
		}
	}
	dir := s.containerDir(rec.ID)
	req := supervisor.CreateRequest{
		ID: rec.ID, Spec: c.spec, Bundle: dir, Start: true,
		Rootfs: s.overlay(rec, owner, c.spec.Root.Readonly),
		Images: imageMounts(rec),
		Join:   joins(rec, owner),
		Log:    supervisor.LogOptions{Path: rec.LogPath, Dir: logRoot(owner), MaxSize: s.deps.LogMaxSize, MaxFiles: s.deps.LogMaxFiles},
		Stdin:  rec.Config.GetStdin(),
		// Empty for skiff's own.
		Runtime: s.deps.Handlers[owner.Handler],
		Labels:  map[string]string{labelKind: kindCtr, labelSandbox: rec.SandboxID},
		// An interrupted caller must not leave a container whose fate nobody
		// knows, so StdinOnce is passed on rather than kept here.
		StdinOnce: rec.Config.GetStdinOnce(),
	}
	started, err := s.sup.Create(context.WithoutCancel(ctx), req)
	if err != nil {
		return err
	}
	c.spec = nil
	c.held = s.sup.Hold(rec.ID)
	next := *rec
	next.State, next.PID, next.StartedAt = runtimeapi.ContainerState_CONTAINER_RUNNING, started.PID, started.StartedAt
	c.rec.Store(&next)
	if err := writeRecord(dir, &next); err != nil {
		// The supervisor remembers what runs.
		s.log.Warn("start of a container not recorded", "container", rec.ID, "err", err)
	}
	return nil
}

// startFailed records a container that never ran, as one that has exited.
func (s *Service) startFailed(c *ctr, cause error) {
	err := s.change(c, func(r *containerRecord) {
		r.State = runtimeapi.ContainerState_CONTAINER_EXITED
		r.FinishedAt = time.Now()
		r.ExitCode, r.Reason, r.Message = startErrorCode, startErrorReason, cause.Error()
	})
	if err != nil {
		s.log.Error("failed start not recorded", "container", c.rec.Load().ID, "err", err)
	}
	c.markExited()
	rec := c.rec.Load()
	s.sendEvent(rec.ID, rec.SandboxID, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
}

// exitedAs fills in how a container ended.
func exitedAs(r *containerRecord, exit supervisor.Exit) {
	r.State = runtimeapi.ContainerState_CONTAINER_EXITED
	r.FinishedAt = exit.At
	r.ExitCode = int32(exit.Code)
	switch {
	case exit.OOMKilled:
		r.Reason = reasonOOM
	case exit.Unknown:
		r.Reason = reasonUnknown
		r.Message = "The container ended while no one watched it; its exit code is not known."
	case exit.Code == 0:
		r.Reason = reasonCompleted
	default:
		r.Reason = reasonError
	}
}

// settle takes a container's exit from the supervisor: it is recorded here
// first and acknowledged there afterwards.
func (s *Service) settle(ctx context.Context, c *ctr, state *supervisor.Container) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held.Release() // the supervisor has read them to their end
	rec := c.rec.Load()
	if rec.State != runtimeapi.ContainerState_CONTAINER_EXITED {
		err := s.change(c, func(r *containerRecord) {
			if r.StartedAt.IsZero() {
				r.StartedAt = state.StartedAt
			}
			exitedAs(r, *state.Exit)
		})
		if err != nil {
			// It has ended all the same. The supervisor keeps the exit; the
			// next skiff asks again.
			s.log.Error("exit of a container not recorded", "container", rec.ID, "err", err)
			c.markExited()
			s.sendEvent(rec.ID, rec.SandboxID, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
			return
		}
	}
	c.spec = nil
	c.markExited()
	s.sendEvent(rec.ID, rec.SandboxID, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
	// Who removes the container waits for the lock, and so for this.
	if err := s.sup.Delete(ctx, rec.ID, false); err != nil {
		s.log.Warn("exited container not removed", "container", rec.ID, "err", err)
		return
	}
	c.forgotten = true
}
