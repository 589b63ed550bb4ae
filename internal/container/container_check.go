package container

import (
	"os"
	"slices"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// checkContainer refuses what would otherwise be dropped in silence.
// The sandbox's configuration is that of now: a debug container may be the first of its pod that is privileged.
func (s *Service) checkContainer(config *runtimeapi.ContainerConfig, owner *sandboxRecord, now *runtimeapi.PodSandboxConfig) error {
	if n := len(config.GetCDIDevices()); n > 0 {
		return invalid("%d CDI devices asked for, the first is %q: this runtime has none", n, config.GetCDIDevices()[0].GetName())
	}
	sc := config.GetLinux().GetSecurityContext()
	if labels := sc.GetSelinuxOptions(); labels.GetType() != "" && !sc.GetPrivileged() {
		// Where the kernel has no SELinux the label has no meaning, and pods that
		// carry one run as everywhere.
		if _, err := os.Stat("/sys/fs/selinux/enforce"); err == nil {
			return invalid("SELinux type %q asked for: this runtime sets no SELinux labels", labels.GetType())
		}
	}
	if sc.GetPrivileged() && !now.GetLinux().GetSecurityContext().GetPrivileged() {
		return invalid("security_context.privileged: the sandbox's configuration does not allow privileged containers (linux.security_context.privileged)")
	}
	if _, known := runtimeapi.SupplementalGroupsPolicy_name[int32(sc.GetSupplementalGroupsPolicy())]; !known {
		return invalid("security_context.supplemental_groups_policy: %d is neither Merge nor Strict", sc.GetSupplementalGroupsPolicy())
	}
	if owner.Handler != "" && owner.Handler != runtimeHandler {
		// Its mounts are in a namespace that lets none out; see supervisor's monitor.
		for _, m := range config.GetMounts() {
			if m.GetPropagation() == runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL {
				return invalid("mount at %q: bidirectional propagation is possible only with the handler %q, not with %q", m.GetContainerPath(), runtimeHandler, owner.Handler)
			}
		}
	}
	for _, m := range config.GetMounts() {
		if _, known := runtimeapi.MountPropagation_name[int32(m.GetPropagation())]; !known {
			return invalid("mount at %q: propagation %d is none", m.GetContainerPath(), m.GetPropagation())
		}
	}
	if err := checkModes(sc.GetNamespaceOptions(), true); err != nil {
		return err
	}
	for _, mode := range []struct {
		name      string
		own, have runtimeapi.NamespaceMode
	}{
		{"network", sc.GetNamespaceOptions().GetNetwork(), netMode(owner.Config)}, {"ipc", sc.GetNamespaceOptions().GetIpc(), ipcMode(owner.Config)},
	} {
		if usesNode(mode.own) && !usesNode(mode.have) {
			return invalid("namespace_options.%s: NODE is possible only in a sandbox that has it", mode.name)
		}
	}
	return s.checkTarget(sc.GetNamespaceOptions(), owner)
}

// checkModes takes the modes that a namespace can have: a container's own, where each container has one, and a target's.
func checkModes(options *runtimeapi.NamespaceOption, container bool) error {
	pod, node := runtimeapi.NamespaceMode_POD, runtimeapi.NamespaceMode_NODE
	pid := []runtimeapi.NamespaceMode{pod, node, runtimeapi.NamespaceMode_CONTAINER}
	if container {
		pid = append(pid, runtimeapi.NamespaceMode_TARGET)
	}
	for _, n := range []struct {
		name     string
		mode     runtimeapi.NamespaceMode
		possible []runtimeapi.NamespaceMode
	}{
		{"network", options.GetNetwork(), []runtimeapi.NamespaceMode{pod, node}},
		{"ipc", options.GetIpc(), []runtimeapi.NamespaceMode{pod, node}},
		{"pid", options.GetPid(), pid},
	} {
		if !slices.Contains(n.possible, n.mode) {
			return invalid("namespace_options.%s: %s is not one of %v", n.name, n.mode, n.possible)
		}
	}
	return nil
}

// checkTarget looks at the container whose processes a debug container sees: it
// must be of the same pod and run.
func (s *Service) checkTarget(options *runtimeapi.NamespaceOption, owner *sandboxRecord) error {
	if options.GetPid() != runtimeapi.NamespaceMode_TARGET {
		return nil
	}
	if options.GetTargetId() == "" {
		return invalid("pid namespace mode TARGET needs target_id")
	}
	target, err := s.findContainer(options.GetTargetId())
	if err != nil {
		return invalid("pid namespace of container %q: %v", options.GetTargetId(), err)
	}
	rec := target.rec.Load()
	if rec.SandboxID != owner.ID {
		return invalid("pid namespace of container %q: it is in another sandbox", rec.ID)
	}
	if rec.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return invalid("pid namespace of container %q: it is not running (%s)", rec.ID, rec.State)
	}
	return nil
}
