package container

import (
	"context"
	"encoding/json"
	"path/filepath"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/kernel/namespace"
)

func sandboxState(rec *sandboxRecord) runtimeapi.PodSandboxState {
	if rec.Ready {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

func sandboxStatus(rec *sandboxRecord) *runtimeapi.PodSandboxStatus {
	options := rec.Config.GetLinux().GetSecurityContext().GetNamespaceOptions()
	out := &runtimeapi.PodSandboxStatus{
		Id: rec.ID, Metadata: rec.Config.GetMetadata(), State: sandboxState(rec), CreatedAt: rec.CreatedAt.UnixNano(),
		Labels: rec.Config.GetLabels(), Annotations: rec.Config.GetAnnotations(), RuntimeHandler: rec.Handler,
		Network: &runtimeapi.PodSandboxNetworkStatus{},
		Linux: &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{Options: &runtimeapi.NamespaceOption{
			Network: options.GetNetwork(), Pid: options.GetPid(), Ipc: options.GetIpc(), TargetId: options.GetTargetId(), UsernsOptions: options.GetUsernsOptions(),
		}}},
	}
	for i, ip := range rec.IPs {
		if i == 0 {
			out.Network.Ip = ip
			continue
		}
		out.Network.AdditionalIps = append(out.Network.AdditionalIps, &runtimeapi.PodIP{Ip: ip})
	}
	return out
}

// PodSandboxStatus tells the state of a sandbox.
func (s *Service) PodSandboxStatus(_ context.Context, req *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	b, err := s.findSandbox(req.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	// The time comes first: what happened later may be missing.
	at := time.Now()
	rec := b.rec.Load()
	resp := &runtimeapi.PodSandboxStatusResponse{Status: sandboxStatus(rec), Timestamp: at.UnixNano()}
	for _, c := range s.containersOf(rec.ID) {
		resp.ContainersStatuses = append(resp.ContainersStatuses, containerStatus(c.rec.Load()))
	}
	if req.GetVerbose() {
		info := map[string]any{"pid": rec.PID, "cgroupPath": rec.CgroupPath, "hostInterface": rec.HostInterface, "config": rec.Config}
		if rec.Ready && !usesNode(netMode(rec.Config)) {
			info["netns"] = namespace.Path(rec.PID, string(specs.NetworkNamespace))
		}
		info["runtimeSpec"] = s.sandboxSpec(rec)
		resp.Info = infoMap(info)
	}
	return resp, nil
}

func infoMap(info map[string]any) map[string]string {
	data, err := json.Marshal(info)
	if err != nil {
		return nil
	}
	return map[string]string{"info": string(data)}
}

// ListPodSandbox lists sandboxes, filtered.
func (s *Service) ListPodSandbox(_ context.Context, req *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	return &runtimeapi.ListPodSandboxResponse{Items: s.listSandboxes(req.GetFilter())}, nil
}

func (s *Service) listSandboxes(filter *runtimeapi.PodSandboxFilter) []*runtimeapi.PodSandbox {
	var out []*runtimeapi.PodSandbox
	for _, b := range s.allSandboxes() {
		rec := b.rec.Load()
		if !matchID(rec.ID, filter.GetId()) || !matchLabels(rec.Config.GetLabels(), filter.GetLabelSelector()) ||
			(filter.GetState() != nil && filter.GetState().GetState() != sandboxState(rec)) {
			continue
		}
		out = append(out, &runtimeapi.PodSandbox{
			Id: rec.ID, Metadata: rec.Config.GetMetadata(), State: sandboxState(rec), CreatedAt: rec.CreatedAt.UnixNano(),
			Labels: rec.Config.GetLabels(), Annotations: rec.Config.GetAnnotations(), RuntimeHandler: rec.Handler,
		})
	}
	return out
}

func containerStatus(rec *containerRecord) *runtimeapi.ContainerStatus {
	config := rec.Config
	out := &runtimeapi.ContainerStatus{
		Id: rec.ID, Metadata: config.GetMetadata(), State: rec.State, CreatedAt: rec.CreatedAt.UnixNano(),
		ExitCode: rec.ExitCode, Reason: rec.Reason, Message: rec.Message, Labels: config.GetLabels(), Annotations: config.GetAnnotations(),
		Mounts: mountStatus(rec), LogPath: rec.LogPath, ImageRef: rec.ImageRef, ImageId: rec.ImageID,
		Image:     &runtimeapi.ImageSpec{Image: imageName(config.GetImage()), Annotations: config.GetImage().GetAnnotations(), UserSpecifiedImage: config.GetImage().GetUserSpecifiedImage()},
		Resources: &runtimeapi.ContainerResources{Linux: config.GetLinux().GetResources()},
		User:      &runtimeapi.ContainerUser{Linux: &runtimeapi.LinuxContainerUser{Uid: int64(rec.User.UID), Gid: int64(rec.User.GID)}},
	}
	for _, g := range rec.User.Groups {
		out.User.Linux.SupplementalGroups = append(out.User.Linux.SupplementalGroups, int64(g))
	}
	if !rec.StartedAt.IsZero() {
		out.StartedAt = rec.StartedAt.UnixNano()
	}
	if !rec.FinishedAt.IsZero() {
		out.FinishedAt = rec.FinishedAt.UnixNano()
	}
	out.StopSignal = signalEnum(rec.StopSignal)
	return out
}

// imageName is what people wrote, where it is known.
func imageName(spec *runtimeapi.ImageSpec) string {
	if name := spec.GetUserSpecifiedImage(); name != "" {
		return name
	}
	return spec.GetImage()
}

// signalEnum is the CRI's name of the signal that will be sent, however an image
// spells it: "TERM", "15", "SIGRTMIN+3".
func signalEnum(text string) runtimeapi.Signal {
	n := stopSignal(text)
	name := unix.SignalName(n)
	switch {
	case name != "":
	case n == 34:
		name = "SIGRTMIN"
	case n > 34 && n < 50:
		name = "SIGRTMINPLUS" + itoa(int(n)-34)
	case n >= 50 && n < 64:
		name = "SIGRTMAXMINUS" + itoa(64-int(n))
	case n == 64:
		name = "SIGRTMAX"
	}
	if v, ok := runtimeapi.Signal_value[name]; ok {
		return runtimeapi.Signal(v)
	}
	return runtimeapi.Signal_RUNTIME_DEFAULT
}

// ContainerStatus tells the state of a container.
func (s *Service) ContainerStatus(_ context.Context, req *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	c, err := s.findContainer(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	rec := c.rec.Load()
	resp := &runtimeapi.ContainerStatusResponse{Status: containerStatus(rec)}
	if req.GetVerbose() {
		resp.Info = infoMap(map[string]any{
			"pid": rec.PID, "sandboxID": rec.SandboxID, "cgroupPath": rec.CgroupPath,
			"rootfs":      filepath.Join("/proc", itoa(rec.PID), "root"),
			"snapshot":    s.snapshot(rec),
			"config":      rec.Config,
			"runtimeSpec": s.containerSpec(rec),
		})
	}
	return resp, nil
}

// ListContainers lists containers, filtered.
func (s *Service) ListContainers(_ context.Context, req *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	return &runtimeapi.ListContainersResponse{Containers: s.listContainers(req.GetFilter())}, nil
}

func (s *Service) listContainers(filter *runtimeapi.ContainerFilter) []*runtimeapi.Container {
	var out []*runtimeapi.Container
	for _, c := range s.allContainers() {
		rec := c.rec.Load()
		if !matchID(rec.ID, filter.GetId()) || !matchID(rec.SandboxID, filter.GetPodSandboxId()) || !matchLabels(rec.Config.GetLabels(), filter.GetLabelSelector()) ||
			(filter.GetState() != nil && filter.GetState().GetState() != rec.State) {
			continue
		}
		out = append(out, &runtimeapi.Container{
			Id: rec.ID, PodSandboxId: rec.SandboxID, Metadata: rec.Config.GetMetadata(),
			Image:    &runtimeapi.ImageSpec{Image: imageName(rec.Config.GetImage()), Annotations: rec.Config.GetImage().GetAnnotations(), UserSpecifiedImage: rec.Config.GetImage().GetUserSpecifiedImage()},
			ImageRef: rec.ImageRef, ImageId: rec.ImageID, State: rec.State, CreatedAt: rec.CreatedAt.UnixNano(),
			Labels: rec.Config.GetLabels(), Annotations: rec.Config.GetAnnotations(),
		})
	}
	return out
}

// matchID accepts the beginning of an id, as crictl gives it.
func matchID(id, want string) bool {
	return want == "" || (len(want) <= len(id) && id[:len(want)] == want)
}

func matchLabels(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// StreamPodSandboxes and StreamContainers send lists in pieces (KEP-5825).
func (s *Service) StreamPodSandboxes(req *runtimeapi.StreamPodSandboxesRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxesResponse]) error {
	return inPieces(s.listSandboxes(req.GetFilter()), func(piece []*runtimeapi.PodSandbox) error {
		return stream.Send(&runtimeapi.StreamPodSandboxesResponse{PodSandboxes: piece})
	})
}

// StreamContainers is ListContainers in pieces.
func (s *Service) StreamContainers(req *runtimeapi.StreamContainersRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamContainersResponse]) error {
	return inPieces(s.listContainers(req.GetFilter()), func(piece []*runtimeapi.Container) error {
		return stream.Send(&runtimeapi.StreamContainersResponse{Containers: piece})
	})
}

// piece is how many items one message of a streamed list holds.
const piece = 100

func inPieces[T any](all []T, send func([]T) error) error {
	for len(all) > 0 {
		n := min(piece, len(all))
		if err := send(all[:n]); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

// host is what does not change while the node runs.
func (s *Service) host() hostFacts { return s.hostOnce() }
