package oci

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"go.skiff.dev/skiff/internal/kernel/mount"
	"go.skiff.dev/skiff/internal/kernel/namespace"
	"go.skiff.dev/skiff/internal/kernel/netdev"
)

// Validate checks what the kernel would only refuse later, or never, and names the field.
func Validate(s *specs.Spec) error {
	if s == nil {
		return errors.New("the configuration is empty")
	}
	for _, check := range []func(*specs.Spec) error{
		checkVersion, checkRoot, checkProcess, checkNamespaces, checkMappings, checkHostname, checkMounts, checkPaths,
		checkSysctls, checkHooks, checkUnsupported, checkTimeOffsets,
		checkNetDevices,
	} {
		if err := check(s); err != nil {
			return err
		}
	}
	return nil
}

// checkVersion takes every 1.x: minor versions only add (runtime-spec, "Specification version").
func checkVersion(s *specs.Spec) error {
	core, _, _ := strings.Cut(s.Version, "+")
	core, _, _ = strings.Cut(core, "-")
	parts := strings.Split(core, ".")
	if parts[0] != "1" || len(parts) < 2 || len(parts) > 3 || slices.ContainsFunc(parts, notNumber) {
		return fmt.Errorf("ociVersion: %q is not supported, 1.0.0 to %s are", s.Version, specs.Version)
	}
	return nil
}

func notNumber(s string) bool {
	return s == "" || strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

func checkRoot(s *specs.Spec) error {
	if s.Root != nil && s.Root.Path == "" {
		return errors.New("root.path: must not be empty")
	}
	return nil
}

func checkProcess(s *specs.Spec) error {
	p := s.Process
	if p == nil {
		return nil
	}
	if p.Cwd == "" || !path.IsAbs(p.Cwd) {
		return fmt.Errorf("process.cwd: %q is not an absolute path", p.Cwd)
	}
	if len(p.Args) == 0 {
		return errors.New("process.args: must not be empty")
	}
	for i, e := range p.Env {
		if strings.IndexByte(e, 0) >= 0 || !strings.Contains(e, "=") || strings.HasPrefix(e, "=") {
			return fmt.Errorf("process.env[%d]: %q is not of the form name=value", i, e)
		}
	}
	for i, a := range p.Args {
		if strings.IndexByte(a, 0) >= 0 {
			return fmt.Errorf("process.args[%d]: holds a zero byte", i)
		}
	}
	// 2^32-1 means "leave it" to the kernel, so the process would stay root (CVE-2024-40635's family).
	if p.User.UID == 1<<32-1 || p.User.GID == 1<<32-1 || slices.Contains(p.User.AdditionalGids, 1<<32-1) {
		return errors.New("process.user: 4294967295 is not an id")
	}
	if p.OOMScoreAdj != nil && (*p.OOMScoreAdj < -1000 || *p.OOMScoreAdj > 1000) {
		return fmt.Errorf("process.oomScoreAdj: %d is not between -1000 and 1000", *p.OOMScoreAdj)
	}
	return nil
}

func checkNamespaces(s *specs.Spec) error {
	if s.Linux == nil {
		return nil
	}
	seen := map[specs.LinuxNamespaceType]bool{}
	for i, ns := range s.Linux.Namespaces {
		if _, ok := namespace.ByType(string(ns.Type)); !ok {
			return fmt.Errorf("linux.namespaces[%d].type: %q is not a namespace", i, ns.Type)
		}
		if seen[ns.Type] {
			return fmt.Errorf("linux.namespaces[%d].type: duplicate namespace %q", i, ns.Type)
		}
		seen[ns.Type] = true
		if ns.Path != "" && !path.IsAbs(ns.Path) {
			return fmt.Errorf("linux.namespaces[%d].path: %q is not an absolute path", i, ns.Path)
		}
	}
	return nil
}

func checkMappings(s *specs.Spec) error {
	l := s.Linux
	if l == nil {
		return nil
	}
	ns, isNew := findNamespace(s, specs.UserNamespace)
	has := len(l.UIDMappings) > 0 || len(l.GIDMappings) > 0
	switch {
	case ns == nil && has:
		return errors.New("linux.uidMappings, linux.gidMappings: user namespace mappings specified, but user namespace isn't enabled in the config")
	case isNew && (len(l.UIDMappings) == 0 || len(l.GIDMappings) == 0):
		return errors.New("linux.uidMappings, linux.gidMappings: a new user namespace needs both")
	}
	for _, m := range [...]struct {
		field string
		list  []specs.LinuxIDMapping
	}{{"uidMappings", l.UIDMappings}, {"gidMappings", l.GIDMappings}} {
		for i, e := range m.list {
			if e.Size == 0 || uint64(e.ContainerID)+uint64(e.Size) > 1<<32 || uint64(e.HostID)+uint64(e.Size) > 1<<32 {
				return fmt.Errorf("linux.%s[%d]: containerID %d, hostID %d, size %d is not a range of ids", m.field, i,
					e.ContainerID, e.HostID, e.Size)
			}
		}
	}
	return nil
}

// findNamespace returns the entry for t, and whether a new one is to be made.
func findNamespace(s *specs.Spec, t specs.LinuxNamespaceType) (ns *specs.LinuxNamespace, isNew bool) {
	if s.Linux == nil {
		return nil, false
	}
	for i := range s.Linux.Namespaces {
		if n := &s.Linux.Namespaces[i]; n.Type == t {
			return n, n.Path == ""
		}
	}
	return nil, false
}

func checkHostname(s *specs.Spec) error {
	if ns, _ := findNamespace(s, specs.UTSNamespace); ns == nil {
		if s.Hostname != "" {
			return errors.New("hostname: unable to set hostname without a private UTS namespace")
		}
		if s.Domainname != "" {
			return errors.New("domainname: unable to set domainname without a private UTS namespace")
		}
	}
	if len(s.Hostname) > 64 || len(s.Domainname) > 64 { // __NEW_UTS_LEN
		return errors.New("hostname, domainname: longer than 64 bytes")
	}
	return nil
}

func checkMounts(s *specs.Spec) error {
	for i, m := range s.Mounts {
		if m.Destination == "" {
			return fmt.Errorf("mounts[%d].destination: must not be empty", i)
		}
		if path.Clean("/"+m.Destination) == "/" {
			return fmt.Errorf("mounts[%d].destination: %q is the root itself", i, m.Destination)
		}
		o := mount.ParseOptions(m.Options)
		bind := o.Bind || m.Type == "bind"
		if bind && m.Source == "" {
			return fmt.Errorf("mounts[%d].source: must not be empty for a bind mount", i)
		}
		if (len(m.UIDMappings) > 0) != (len(m.GIDMappings) > 0) {
			return fmt.Errorf("mounts[%d]: uidMappings and gidMappings must be given together", i)
		}
		if len(m.UIDMappings) > 0 && !bind {
			return fmt.Errorf("mounts[%d]: id-mapped mounts are only possible for bind mounts", i)
		}
		if m.Type == "" && !bind && !o.Remount {
			return fmt.Errorf("mounts[%d].type: must not be empty", i)
		}
	}
	return nil
}

func checkPaths(s *specs.Spec) error {
	if s.Linux == nil {
		return nil
	}
	ns, _ := findNamespace(s, specs.MountNamespace)
	if ns == nil && (len(s.Linux.MaskedPaths) > 0 || len(s.Linux.ReadonlyPaths) > 0) {
		return errors.New("linux.maskedPaths, linux.readonlyPaths: unable to restrict sys entries without a private MNT namespace")
	}
	for _, f := range [...]struct {
		field string
		list  []string
	}{{"maskedPaths", s.Linux.MaskedPaths}, {"readonlyPaths", s.Linux.ReadonlyPaths}} {
		for i, p := range f.list {
			if !path.IsAbs(p) {
				return fmt.Errorf("linux.%s[%d]: %q is not an absolute path", f.field, i, p)
			}
		}
	}
	if p := s.Linux.RootfsPropagation; p != "" {
		if _, ok := mount.Propagation(p); !ok {
			return fmt.Errorf("linux.rootfsPropagation: %q is not known", p)
		}
	}
	return nil
}

func checkSysctls(s *specs.Spec) error {
	if s.Linux == nil {
		return nil
	}
	host := func(flag uint64) bool { // joined by path, and that path is our own namespace
		for _, k := range namespace.Kinds() {
			if uint64(k.Flag) == flag {
				ns, isNew := findNamespace(s, specs.LinuxNamespaceType(k.Type))
				return ns != nil && !isNew && namespace.Same(ns.Path, "/proc/self/ns/"+k.File)
			}
		}
		return false
	}
	for k, v := range s.Linux.Sysctl {
		if err := validSysctl(k, v, namespaceFlags(s), host); err != nil {
			return err
		}
	}
	return nil
}

func checkHooks(s *specs.Spec) error {
	if s.Hooks == nil {
		return nil
	}
	h := s.Hooks
	for _, l := range [...]struct {
		name  string
		hooks []specs.Hook
	}{{"prestart", h.Prestart}, {"createRuntime", h.CreateRuntime}, {"createContainer", h.CreateContainer}, //nolint:staticcheck // deprecated, still specified
		{"startContainer", h.StartContainer}, {"poststart", h.Poststart}, {"poststop", h.Poststop}} {
		for i, k := range l.hooks {
			if !path.IsAbs(k.Path) {
				return fmt.Errorf("hooks.%s[%d].path: %q is not an absolute path", l.name, i, k.Path)
			}
			if k.Timeout != nil && *k.Timeout <= 0 {
				return fmt.Errorf("hooks.%s[%d].timeout: %d is not greater than zero", l.name, i, *k.Timeout)
			}
		}
	}
	return nil
}

func checkNetDevices(s *specs.Spec) error {
	if s.Linux == nil || len(s.Linux.NetDevices) == 0 {
		return nil
	}
	ns, isNew := findNamespace(s, specs.NetworkNamespace)
	if ns == nil || !isNew && namespace.Same(ns.Path, "/proc/self/ns/net") {
		return errors.New("linux.netDevices: unable to move network devices without a private NET namespace")
	}
	seen := map[string]bool{}
	for name, d := range s.Linux.NetDevices {
		as := netDeviceName(name, d)
		switch {
		case !netdev.ValidName(name) || strings.Contains(name, "%"):
			return fmt.Errorf("linux.netDevices[%q]: is not the name of a network device", name)
		case !netdev.ValidName(as):
			return fmt.Errorf("linux.netDevices[%q].name: %q is not the name of a network device", name, as)
		case seen[as] && !strings.Contains(as, "%d"):
			return fmt.Errorf("linux.netDevices[%q].name: %q is used twice", name, as)
		}
		seen[as] = true
	}
	return nil
}

// checkUnsupported refuses clearly what this runtime does not do, rather than leave it out silently.
func checkUnsupported(s *specs.Spec) error {
	l := s.Linux
	if l == nil {
		return nil
	}
	switch {
	case l.IntelRdt != nil:
		return errors.New("linux.intelRdt: Intel RDT is not supported")
	}
	return nil
}

func checkTimeOffsets(s *specs.Spec) error {
	if s.Linux == nil || len(s.Linux.TimeOffsets) == 0 {
		return nil
	}
	if _, isNew := findNamespace(s, specs.TimeNamespace); !isNew {
		return errors.New("linux.timeOffsets: need a new time namespace")
	}
	for k, o := range s.Linux.TimeOffsets {
		if o.Nanosecs >= 1e9 {
			return fmt.Errorf("linux.timeOffsets[%q].nanosecs: %d is a second or more", k, o.Nanosecs)
		}
		if k != "monotonic" && k != "boottime" {
			return fmt.Errorf("linux.timeOffsets[%q]: only monotonic and boottime can be set", k)
		}
	}
	return nil
}
