package container

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
)

// kubeAPIVersion is what the CRI's Version call echoes, since its first day.
const kubeAPIVersion = "0.1.0"

// Version names the runtime.
func (s *Service) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{
		Version: kubeAPIVersion, RuntimeName: runtimeHandler, RuntimeVersion: cmp.Or(s.deps.Version, "0.0.0"), RuntimeApiVersion: "v1",
	}, nil
}

// Status tells whether pods can run.
func (s *Service) Status(ctx context.Context, req *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	runtimeReady := &runtimeapi.RuntimeCondition{Type: runtimeapi.RuntimeReady, Status: true}
	info, err := s.sup.Info(ctx)
	if err != nil {
		runtimeReady.Status, runtimeReady.Reason, runtimeReady.Message = false, "SupervisorNotReady", err.Error()
	}
	resp := &runtimeapi.StatusResponse{
		Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
			runtimeReady, {Type: runtimeapi.NetworkReady, Status: true},
		}},
		Features: &runtimeapi.RuntimeFeatures{SupplementalGroupsPolicy: true},
	}
	resp.RuntimeHandlers = s.handlers()
	if req.GetVerbose() {
		resp.Info = infoMap(map[string]any{"supervisor": info, "dir": s.deps.Dir, "cgroupParent": s.deps.CgroupParent, "snapshotter": s.deps.Images.Snapshotter()})
	}
	return resp, nil
}

// RuntimeConfig tells that cgroups are managed without systemd.
func (s *Service) RuntimeConfig(context.Context, *runtimeapi.RuntimeConfigRequest) (*runtimeapi.RuntimeConfigResponse, error) {
	return &runtimeapi.RuntimeConfigResponse{Linux: &runtimeapi.LinuxRuntimeConfiguration{CgroupDriver: runtimeapi.CgroupDriver_CGROUPFS}}, nil
}

// UpdateRuntimeConfig hears the pods' address range, which this network knows already.
func (s *Service) UpdateRuntimeConfig(context.Context, *runtimeapi.UpdateRuntimeConfigRequest) (*runtimeapi.UpdateRuntimeConfigResponse, error) {
	return &runtimeapi.UpdateRuntimeConfigResponse{}, nil
}

// UpdateContainerResources changes limits of a container that was created or runs.
func (s *Service) UpdateContainerResources(ctx context.Context, req *runtimeapi.UpdateContainerResourcesRequest) (*runtimeapi.UpdateContainerResourcesResponse, error) {
	c, err := s.findContainer(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	rec := c.rec.Load()
	if rec.State == runtimeapi.ContainerState_CONTAINER_EXITED {
		return nil, status.Errorf(codes.FailedPrecondition, "container %q has exited", rec.ID)
	}
	// What fails half way is taken back: not every runtime changes all or nothing.
	undo := func() {}
	if rec.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
		before := undoResources(rec.Config.GetLinux().GetResources(), req.GetLinux(), s.host())
		undo = func() {
			if err := s.sup.Update(context.WithoutCancel(ctx), rec.ID, before); err != nil {
				s.log.Warn("limits of a container not put back", "container", rec.ID, "err", err)
			}
		}
		if err := s.sup.Update(ctx, rec.ID, convertResources(req.GetLinux(), s.host())); err != nil {
			undo()
			return nil, coded(err)
		}
	}
	config := proto.CloneOf(rec.Config)
	if config.Linux == nil {
		config.Linux = &runtimeapi.LinuxContainerConfig{}
	}
	config.Linux.Resources = mergeResources(config.Linux.GetResources(), req.GetLinux())
	if err := s.change(c, func(r *containerRecord) { r.Config = config }); err != nil {
		c.rec.Store(rec)
		undo()
		return nil, statusOf(err, "updating container %q", rec.ID)
	}
	c.spec = nil
	return &runtimeapi.UpdateContainerResourcesResponse{}, nil
}

// ReopenContainerLog starts a new log file after the old one was renamed.
func (s *Service) ReopenContainerLog(ctx context.Context, req *runtimeapi.ReopenContainerLogRequest) (*runtimeapi.ReopenContainerLogResponse, error) {
	c, err := s.findContainer(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	if c.rec.Load().State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return nil, status.Errorf(codes.FailedPrecondition, "container %q is not running", req.GetContainerId())
	}
	if err := s.sup.ReopenLog(ctx, c.rec.Load().ID); err != nil {
		return nil, statusOf(err, "reopening the log of container %q", req.GetContainerId())
	}
	return &runtimeapi.ReopenContainerLogResponse{}, nil
}

// UpdatePodSandboxResources hears of new limits of the pod, whose cgroup is the
// node agent's; they are kept in the sandbox's configuration, which the verbose
// status shows.
func (s *Service) UpdatePodSandboxResources(_ context.Context, req *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	b, err := s.findSandbox(req.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	rec := b.rec.Load()
	if !rec.Ready {
		return nil, status.Errorf(codes.FailedPrecondition, "sandbox %q is not ready", rec.ID)
	}
	config := proto.CloneOf(rec.Config)
	if config.Linux == nil {
		config.Linux = &runtimeapi.LinuxPodSandboxConfig{}
	}
	config.Linux.Overhead = mergeResources(config.Linux.GetOverhead(), req.GetOverhead())
	config.Linux.Resources = mergeResources(config.Linux.GetResources(), req.GetResources())
	if err := s.changeSandbox(b, func(r *sandboxRecord) { r.Config = config }); err != nil {
		return nil, statusOf(err, "updating sandbox %q", rec.ID)
	}
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, nil
}

// cgroupStats reads the counters of a cgroup; they are missing once it is gone.
func cgroupStats(path string) (cgroup.Stats, bool) {
	m, err := cgroup.New(path)
	if err != nil {
		return cgroup.Stats{}, false
	}
	st, err := m.Stats()
	return st, err == nil
}

func itoa(n int) string { return strconv.Itoa(n) }

func drainDeadline(err error) time.Time {
	if err != nil {
		return time.Now()
	}
	return time.Now().Add(drainTime)
}
