package container

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/kernel/pidfd"
	"go.skiff.dev/skiff/internal/supervisor"
)

// RunPodSandbox makes a sandbox and starts it.
func (s *Service) RunPodSandbox(ctx context.Context, req *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	config := req.GetConfig()
	if err := s.checkSandbox(ctx, config, req.GetRuntimeHandler()); err != nil {
		return nil, err
	}
	rec := &sandboxRecord{
		Version: recordVersion, ID: newID(), BootID: s.bootID, Config: config, Handler: req.GetRuntimeHandler(),
		CreatedAt: time.Now(), Ready: true,
	}
	rec.CgroupPath = path.Join(s.cgroupParent(config), rec.ID)
	name := sandboxName(config.GetMetadata())
	if err := s.reserve(name, rec.ID); err != nil {
		return nil, err
	}
	var back undo
	back.add(func() { s.releaseName(name, rec.ID) })
	if err := s.buildSandbox(ctx, rec, &back); err != nil {
		back.run()
		return nil, statusOf(err, "running sandbox %q", config.GetMetadata().GetName())
	}
	s.sendEvent(rec.ID, rec.ID, runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT)
	s.sendEvent(rec.ID, rec.ID, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT)
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: rec.ID}, nil
}

func (s *Service) checkSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) error {
	if config == nil || config.GetMetadata() == nil {
		return status.Error(codes.InvalidArgument, "sandbox config must include metadata")
	}
	if name := config.GetHostname(); strings.ContainsFunc(name, unicode.IsControl) { // it becomes a line of /etc/hosts
		return invalid("hostname %q holds a control character", name)
	}
	if dir := config.GetLogDirectory(); dir != "" && !filepath.IsAbs(dir) {
		return invalid("log_directory %q is not an absolute path", dir)
	}
	if err := s.checkHandler(ctx, config, handler); err != nil {
		return err
	}
	options := config.GetLinux().GetSecurityContext().GetNamespaceOptions()
	if err := checkModes(options, false); err != nil {
		return err
	}
	if err := checkUsers(config); err != nil {
		return err
	}
	for key, value := range config.GetLinux().GetSysctls() {
		if err := checkSysctl(key, value, options); err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
	}
	return nil
}

func (s *Service) cgroupParent(config *runtimeapi.PodSandboxConfig) string {
	if parent := config.GetLinux().GetCgroupParent(); parent != "" {
		return path.Join("/", parent)
	}
	return path.Join("/", s.deps.CgroupParent)
}

// buildSandbox takes the steps of a sandbox's birth; back undoes them.
func (s *Service) buildSandbox(ctx context.Context, rec *sandboxRecord, back *undo) error {
	dir := s.sandboxDir(rec.ID)
	back.add(func() { os.RemoveAll(dir) })
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("making the sandbox's directory: %w", err)
	}
	if err := s.writeSandboxFiles(rec); err != nil {
		return err
	}
	if !usesNode(ipcMode(rec.Config)) {
		back.add(func() { s.unmountShm(rec.ID) })
		if err := s.mountShm(rec.ID); err != nil {
			return err
		}
	}
	b := newSandbox(rec)
	// The table has the sandbox before pause starts: events of pause find it.
	b.mu.Lock()
	defer b.mu.Unlock()
	back.add(func() { s.dropSandbox(rec.ID) })
	back.add(func() { _ = s.sup.Delete(context.WithoutCancel(ctx), rec.ID, true) })
	// Who goes away meanwhile would leave pause: what is only being made cannot be deleted.
	pause, err := s.sup.Create(context.WithoutCancel(ctx), s.pauseRequest(rec))
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("starting pause: %w", err)
	}
	rec.PID = pause.PID
	if err := s.attachNetwork(ctx, rec, back); err != nil {
		return err
	}
	if err := s.writeHosts(rec); err != nil {
		return err
	}
	if err := s.saveRecord(dir, rec); err != nil {
		return err
	}
	s.mu.Lock()
	s.sandboxes[rec.ID] = b
	s.mu.Unlock()
	// Pause may have ended meanwhile, when nobody knew whose it was.
	if state, err := s.sup.Get(ctx, rec.ID); err == nil && state.Phase == supervisor.PhaseExited {
		return fmt.Errorf("pause ended at once with code %d", state.Exit.Code)
	}
	return nil
}

func (s *Service) dropSandbox(id string) {
	s.mu.Lock()
	delete(s.sandboxes, id)
	s.mu.Unlock()
}

// attachNetwork connects the sandbox's network namespace.
func (s *Service) attachNetwork(ctx context.Context, rec *sandboxRecord, back *undo) error {
	if usesNode(netMode(rec.Config)) || s.deps.Network == nil {
		return nil
	}
	netns, err := openNetns(rec.PID)
	if err != nil {
		return err
	}
	defer netns.Close()
	back.add(func() { _ = s.deps.Network.Detach(context.WithoutCancel(ctx), rec.ID) })
	mappings, err := portMappings(rec.Config.GetPortMappings())
	if err != nil {
		return err
	}
	got, err := s.deps.Network.Attach(ctx, rec.ID, netns, NetworkOptions{PortMappings: mappings})
	if err != nil {
		return fmt.Errorf("attaching the network: %w", err)
	}
	for _, ip := range got.IPs {
		rec.IPs = append(rec.IPs, ip.String())
	}
	rec.HostInterface = got.HostInterface
	return nil
}

// openNetns opens the network namespace of a process, which must still live
// afterwards: otherwise the pid may have been somebody else's.
func openNetns(pid int) (*os.File, error) {
	fd, err := pidfd.Open(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the network namespace of pause: %w", err)
	}
	defer fd.Close()
	netns, err := os.Open(filepath.Join("/proc", fmt.Sprint(pid), "ns/net"))
	if err != nil {
		return nil, fmt.Errorf("opening the network namespace of pause: %w", err)
	}
	if !pidfd.Alive(fd) {
		netns.Close()
		return nil, fmt.Errorf("opening the network namespace of pause: %w", pidfd.ErrGone)
	}
	return netns, nil
}

func portMappings(in []*runtimeapi.PortMapping) ([]PortMapping, error) {
	var out []PortMapping
	for _, m := range in {
		if m.GetHostPort() == 0 {
			continue
		}
		if m.GetHostPort() < 0 || m.GetHostPort() > 65535 || m.GetContainerPort() < 1 || m.GetContainerPort() > 65535 {
			return nil, invalid("port mapping %d -> %d is outside 1-65535", m.GetHostPort(), m.GetContainerPort())
		}
		if ip := m.GetHostIp(); ip != "" {
			if _, err := netip.ParseAddr(ip); err != nil {
				return nil, invalid("port mapping's host address: %v", err)
			}
		}
		out = append(out, PortMapping{
			HostPort: uint16(m.GetHostPort()), ContainerPort: uint16(m.GetContainerPort()),
			Protocol: m.GetProtocol().String(), HostIP: m.GetHostIp(),
		})
	}
	return out, nil
}
