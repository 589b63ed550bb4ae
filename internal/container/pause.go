package container

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/oci"
	"go.skiff.dev/skiff/internal/oci/defaults"
	"go.skiff.dev/skiff/internal/supervisor"
)

const (
	// runtimeHandler is the name of the one runtime that is built in.
	runtimeHandler = "skiff"
	// pauseUser is who pause runs as: nobody's files belong to it.
	pauseUser = 65535
	// pauseOOMScore makes pause the last that the kernel's OOM killer takes.
	pauseOOMScore = -998

	// labelKind and labelSandbox are written on the supervisor's containers.
	labelKind    = "skiff.dev/kind"
	labelSandbox = "skiff.dev/sandbox"
	kindSandbox  = "sandbox"
	kindCtr      = "container"
)

// installPause puts pause where it is executed. It lies on a read-only mount
// inside the pause container, and pause runs as a user who may not write it:
// nothing else is ever executed from there.
func (s *Service) installPause() error {
	root := s.pauseRoot()
	for _, dir := range []string{root, filepath.Join(root, "proc"), filepath.Join(root, "dev")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making pause's root: %w", err)
		}
	}
	path := filepath.Join(root, "pause")
	program := oci.PauseProgram()
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, program) {
		return nil
	}
	tmp := path + ".new"
	err := os.WriteFile(tmp, program, 0o555)
	if err == nil {
		// Pauses that run keep the old file.
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
		return fmt.Errorf("installing pause: %w", err)
	}
	return nil
}

// pauseRequest is the container that holds the pod's namespaces.
func (s *Service) pauseRequest(rec *sandboxRecord) supervisor.CreateRequest {
	config := rec.Config
	score := pauseOOMScore
	spec := &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Args: []string{"pause"}, Cwd: "/", Env: []string{"PATH=/"},
			User:            specs.User{UID: pauseUser, GID: pauseUser},
			NoNewPrivileges: true, OOMScoreAdj: &score, Capabilities: &specs.LinuxCapabilities{},
		},
		Root:  &specs.Root{Path: s.pauseRoot(), Readonly: true},
		Linux: &specs.Linux{CgroupsPath: rec.CgroupPath, Sysctl: sandboxSysctls(config), Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}}},
	}
	own := func(kind specs.LinuxNamespaceType, mode runtimeapi.NamespaceMode) bool {
		if usesNode(mode) {
			return false
		}
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: kind})
		return true
	}
	if users := usersOf(config); users != nil {
		own(specs.UserNamespace, runtimeapi.NamespaceMode_POD)
		addUsers(spec, users)
		// Its root may not make devices in pause's directory, and may mount a
		// procfs, which sysctls are set in, only as long as it sees the node's.
		spec.Mounts = []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "mode=755", "size=64k"}},
		}
	}
	own(specs.IPCNamespace, ipcMode(config))
	own(specs.PIDNamespace, pidMode(config))
	if own(specs.NetworkNamespace, netMode(config)) {
		// The host name belongs to the network identity: a pod on the node's
		// network has the node's.
		own(specs.UTSNamespace, runtimeapi.NamespaceMode_POD)
		spec.Hostname = config.GetHostname()
	}
	return supervisor.CreateRequest{
		ID: rec.ID, Spec: spec, Bundle: s.sandboxDir(rec.ID), Start: true,
		Labels: map[string]string{labelKind: kindSandbox, labelSandbox: rec.ID, supervisor.LabelQuiet: "1"},
	}
}

// sandboxSysctls are the default settings of a network namespace of its own,
// and what the pod asks for.
func sandboxSysctls(config *runtimeapi.PodSandboxConfig) map[string]string {
	out := map[string]string{}
	if !usesNode(netMode(config)) {
		maps.Copy(out, defaults.Sysctls())
		if users := usersOf(config); users != nil {
			// Only ids that the namespace has.
			out["net.ipv4.ping_group_range"] = fmt.Sprintf("0 %d", users.GetGids()[0].GetLength()-1)
		}
	}
	for key, value := range config.GetLinux().GetSysctls() {
		out[strings.ReplaceAll(key, "/", ".")] = value
	}
	return out
}

func netMode(c *runtimeapi.PodSandboxConfig) runtimeapi.NamespaceMode {
	return c.GetLinux().GetSecurityContext().GetNamespaceOptions().GetNetwork()
}

func ipcMode(c *runtimeapi.PodSandboxConfig) runtimeapi.NamespaceMode {
	return c.GetLinux().GetSecurityContext().GetNamespaceOptions().GetIpc()
}

func pidMode(c *runtimeapi.PodSandboxConfig) runtimeapi.NamespaceMode {
	return c.GetLinux().GetSecurityContext().GetNamespaceOptions().GetPid()
}

func usesNode(mode runtimeapi.NamespaceMode) bool { return mode == runtimeapi.NamespaceMode_NODE }
