package container

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// killTimeout is how long a container may take to end after SIGKILL before the
// caller hears that it does not.
const killTimeout = 30 * time.Second

// StopContainer asks the container to end and, after the time-out in seconds,
// ends it. A container that does not run is no error.
func (s *Service) StopContainer(ctx context.Context, req *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	c, err := s.findContainer(req.GetContainerId())
	if status.Code(err) == codes.NotFound {
		return &runtimeapi.StopContainerResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	if err := s.stopContainer(ctx, c, timeout(req.GetTimeout())); err != nil {
		return nil, statusOf(err, "stopping container %q", req.GetContainerId())
	}
	return &runtimeapi.StopContainerResponse{}, nil
}

// timeout is a number of seconds from a client, which may be more than a Duration holds: a pod that must not be killed
// has the largest number there is.
func timeout(seconds int64) time.Duration {
	return time.Duration(min(max(seconds, 0), math.MaxInt64/int64(time.Second))) * time.Second
}

func (s *Service) stopContainer(ctx context.Context, c *ctr, grace time.Duration) error {
	rec := c.rec.Load()
	if rec.State == runtimeapi.ContainerState_CONTAINER_CREATED {
		return nil // never ran; removing it is all there is to do
	}
	if rec.State == runtimeapi.ContainerState_CONTAINER_EXITED {
		return nil
	}
	if grace > 0 {
		if err := s.sup.Signal(ctx, rec.ID, stopSignal(rec.StopSignal), false); err != nil && codeOf(err) != codes.NotFound {
			return err
		}
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-c.exited:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
	}
	return s.killContainer(ctx, c)
}

// killContainer ends every process of the container.
func (s *Service) killContainer(ctx context.Context, c *ctr) error {
	rec := c.rec.Load()
	if err := s.sup.Signal(ctx, rec.ID, syscall.SIGKILL, true); err != nil && codeOf(err) != codes.NotFound {
		return err
	}
	timer := time.NewTimer(killTimeout)
	defer timer.Stop()
	select {
	case <-c.exited:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return status.Errorf(codes.DeadlineExceeded, "container %q does not end after SIGKILL", rec.ID)
	}
}

// stopSignal reads "SIGTERM", "TERM", "SIGRTMIN+3" or "15"; what cannot be read
// is TERM, because a container must be stoppable whatever its image says.
func stopSignal(text string) syscall.Signal {
	if text == "" {
		return syscall.SIGTERM
	}
	if n, err := strconv.Atoi(text); err == nil && n > 0 && n < 65 {
		return syscall.Signal(n)
	}
	name := strings.ToUpper(text)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if n := unix.SignalNum(name); n != 0 {
		return n
	}
	// Real-time signals as the C library counts them: SIGRTMIN is 34, SIGRTMAX 64.
	// The CRI writes SIGRTMINPLUS3 for SIGRTMIN+3.
	for prefix, base := range map[string]struct{ first, sign int }{
		"SIGRTMINPLUS": {34, 1}, "SIGRTMIN+": {34, 1}, "SIGRTMAXMINUS": {64, -1}, "SIGRTMAX-": {64, -1},
	} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			if n, err := strconv.Atoi(rest); err == nil && n >= 0 && n <= 30 {
				return syscall.Signal(base.first + base.sign*n)
			}
		}
	}
	switch name {
	case "SIGRTMIN":
		return syscall.Signal(34)
	case "SIGRTMAX":
		return syscall.Signal(64)
	}
	return syscall.SIGTERM
}

// RemoveContainer removes a container, ending it if it runs. One that is not
// there is no error.
func (s *Service) RemoveContainer(ctx context.Context, req *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error) {
	c, err := s.findContainer(req.GetContainerId())
	if status.Code(err) == codes.NotFound {
		return &runtimeapi.RemoveContainerResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	if err := s.removeContainer(ctx, c); err != nil {
		return nil, statusOf(err, "removing container %q", req.GetContainerId())
	}
	return &runtimeapi.RemoveContainerResponse{}, nil
}

func (s *Service) removeContainer(ctx context.Context, c *ctr) error {
	if c.rec.Load().State == runtimeapi.ContainerState_CONTAINER_RUNNING {
		if err := s.killContainer(ctx, c); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	rec := c.rec.Load()
	s.mu.Lock()
	present := s.containers[rec.ID] == c
	s.mu.Unlock()
	if !present {
		return nil
	}
	if !c.forgotten {
		if err := s.sup.Delete(ctx, rec.ID, true); err != nil {
			return err
		}
	}
	// The record goes first: a directory without one is swept at the next start.
	if err := removeDir(s.containerDir(rec.ID)); err != nil {
		return err
	}
	if s.deps.Images != nil {
		s.deps.Images.Release(rec.ID)
		s.releaseImages(rec)
	}
	s.mu.Lock()
	delete(s.containers, rec.ID)
	s.mu.Unlock()
	s.releaseName(containerName(rec.SandboxID, rec.Config.GetMetadata()), rec.ID)
	s.sendEvent(rec.ID, rec.SandboxID, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT)
	return nil
}

// removeDir removes a directory with a record, the record first.
func removeDir(dir string) error {
	if err := os.Remove(filepath.Join(dir, recordName)); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.RemoveAll(dir)
}
