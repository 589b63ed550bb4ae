package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/mount"
	"go.skiff.dev/skiff/internal/kernel/namespace"
)

// makePlan translates the configuration into what init does, and opens every file that init needs from the host.
func (cr *creation) makePlan(context.Context) error {
	s, p := cr.o.Spec, &cr.plan
	p.rootFD, p.noPivot = -1, cr.o.NoPivot
	if err := cr.planRoot(); err != nil {
		return err
	}
	for i := range s.Mounts {
		if err := cr.planMount(i, &s.Mounts[i]); err != nil {
			return err
		}
	}
	if s.Hostname != "" {
		p.hostname, p.hasHost = s.Hostname, true
	}
	if s.Domainname != "" {
		p.domainname, p.hasDomain = s.Domainname, true
	}
	if s.Root != nil {
		p.readonlyFS = s.Root.Readonly
	}
	if s.Hooks != nil {
		p.wantSync = hasRuntimeHooks(s)
		p.create, p.start = hookPlans(s.Hooks.CreateContainer), hookPlans(s.Hooks.StartContainer)
	}
	if s.Linux != nil {
		p.masked, p.readonly = once(s.Linux.MaskedPaths), once(s.Linux.ReadonlyPaths)
		p.sysctls = planSysctls(s.Linux.Sysctl)
		if err := cr.planDevices(); err != nil {
			return err
		}
	}
	p.process.console, p.process.umask, p.process.personality, p.process.ioprio = true, -1, -1, -1
	p.process.plainLines = cr.o.PlainLines && cr.o.ConsoleSocket == ""
	p.process.newKeyring, p.process.keyring = !cr.o.NoNewKeyring, keyringName(cr.o.ID)
	if s.Process == nil {
		return nil // `start` will say that there is nothing to run
	}
	return planProcess(&p.process, s.Process, s, cr.o.Seccomp, cr.o.Warn)
}

// once drops paths that appear again: a place is covered once.
func once(paths []string) (out []string) {
	for _, p := range paths {
		if p = path.Clean(p); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// planNamespaces decides what init is born with: its files, and, per namespace, whether it is new by clone, joined, or the
// caller's.
func (cr *creation) planNamespaces(context.Context) error {
	if err := cr.files.stdio(cr.o.Stdio, cr.o.ExtraFiles); err != nil {
		return err
	}
	cr.plan.fds = len(cr.files.list())
	w, theirs, err := newWire()
	if err != nil {
		return err
	}
	cr.wire, cr.sp.files = w, cr.files.socket(theirs)
	cr.onFail(func() { w.f.Close() })
	cr.plan.hostMounts = true
	if cr.o.Spec.Linux == nil {
		return nil
	}
	for i, ns := range cr.o.Spec.Linux.Namespaces {
		k, ok := namespace.ByType(string(ns.Type))
		if !ok {
			return fmt.Errorf("linux.namespaces[%d].type: %q is not a namespace", i, ns.Type)
		}
		f := cr.o.Join[ns.Type]
		if f == nil && ns.Path != "" {
			opened, err := namespace.Open(ns.Path, k)
			if err != nil {
				return fmt.Errorf("linux.namespaces[%d].path: %w", i, err)
			}
			cr.files.owned = append(cr.files.owned, opened)
			f = opened
		} else if f != nil {
			if err := namespace.Check(f, k); err != nil {
				return fmt.Errorf("linux.namespaces[%d]: %w", i, err)
			}
		}
		if f == nil {
			cr.newNamespace(k)
		} else {
			cr.joinNamespace(k, f)
		}
	}
	return cr.planIDs()
}

func (cr *creation) newNamespace(k namespace.Kind) {
	switch k.Flag {
	case unix.CLONE_NEWCGROUP:
		// Its root is the cgroup of the moment, so init makes it after it was put into its own.
		cr.plan.unshare |= uint64(k.Flag)
		return
	case unix.CLONE_NEWTIME:
		cr.sp.newTime = true
		cr.sp.timeOffsets = timeOffsets(cr.o.Spec.Linux.TimeOffsets)
		return
	case unix.CLONE_NEWNS:
		cr.plan.hostMounts = false
	case unix.CLONE_NEWNET:
		cr.plan.newNet = true
	}
	cr.sp.clone |= k.Flag
}

// timeOffsets are lines of /proc/PID/timens_offsets (time_namespaces(7)).
func timeOffsets(m map[string]specs.LinuxTimeOffset) string {
	var out strings.Builder
	for _, clock := range []string{"monotonic", "boottime"} {
		if o, ok := m[clock]; ok {
			fmt.Fprintf(&out, "%s %d %d\n", clock, o.Secs, o.Nanosecs)
		}
	}
	return out.String()
}

func (cr *creation) joinNamespace(k namespace.Kind, f *os.File) {
	switch k.Flag {
	case unix.CLONE_NEWPID:
		cr.sp.pidNS = f
	case unix.CLONE_NEWTIME:
		cr.sp.timeNS = f
	case unix.CLONE_NEWUSER:
		if namespace.Same(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), "/proc/self/ns/user") {
			return
		}
		cr.sp.userNS = f
	case unix.CLONE_NEWNS:
		// pivot_root in the host's own namespace would give the host another root.
		path := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
		if namespace.Same(path, "/proc/self/ns/mnt") {
			return
		}
		cr.plan.hostMounts = namespace.Same(path, "/proc/1/ns/mnt")
		cr.plan.joins = append(cr.plan.joins, join{fd: cr.files.add(f, false), flag: uint64(k.Flag)})
	case unix.CLONE_NEWNET:
		if len(cr.o.Spec.Linux.NetDevices) > 0 {
			cr.netNS = f
		}
		cr.plan.joins = append(cr.plan.joins, join{fd: cr.files.add(f, false), flag: uint64(k.Flag)})
	default:
		cr.plan.joins = append(cr.plan.joins, join{fd: cr.files.add(f, false), flag: uint64(k.Flag)})
	}
}

// planIDs takes over the mappings of a new user namespace.
func (cr *creation) planIDs() error {
	l := cr.o.Spec.Linux
	if cr.sp.clone&unix.CLONE_NEWUSER == 0 {
		return nil
	}
	cr.sp.uids, cr.sp.gids = idMap(l.UIDMappings), idMap(l.GIDMappings)
	return nil
}

func idMap(ms []specs.LinuxIDMapping) []syscall.SysProcIDMap {
	out := make([]syscall.SysProcIDMap, len(ms))
	for i, m := range ms {
		out[i] = syscall.SysProcIDMap{ContainerID: int(m.ContainerID), HostID: int(m.HostID), Size: int(m.Size)}
	}
	return out
}

func absRoot(o *CreateOptions) string {
	if o.Spec.Root == nil {
		return ""
	}
	if filepath.IsAbs(o.Spec.Root.Path) {
		return filepath.Clean(o.Spec.Root.Path)
	}
	return filepath.Join(o.Bundle, o.Spec.Root.Path)
}

// planRoot opens the root directory here, in the caller's mount namespace and with its rights.
func (cr *creation) planRoot() error {
	l, p := cr.o.Spec.Linux, &cr.plan
	if l != nil && l.RootfsPropagation != "" {
		prop, ok := mount.Propagation(l.RootfsPropagation)
		if !ok {
			return fmt.Errorf("linux.rootfsPropagation: %q is not one of shared, slave, private, unbindable and r...",
				l.RootfsPropagation)
		}
		p.rootProp = prop
	}
	if ov := cr.o.Rootfs; ov != nil && cr.mapped() {
		return cr.mapRoot(ov)
	} else if ov != nil {
		p.overlay = overlayPlan{ov.Lower, ov.Upper, ov.Work, ov.ReadOnly, ov.Volatile}
		return nil
	}
	root := absRoot(&cr.o)
	if root == "" { // an empty path would be the caller's own directory
		return errors.New("root: must be given")
	}
	p.rootPath = root
	fd, late, err := cr.tree(root, true)
	if err != nil {
		return fmt.Errorf("root.path: %w", err)
	}
	f := os.NewFile(uintptr(fd), root)
	if !mount.IsDir(fd) {
		f.Close()
		return fmt.Errorf("root.path: %q is not a directory", root)
	}
	if late {
		p.rootLate = true
		return f.Close()
	}
	p.rootFD = cr.files.add(f, true)
	if p.hostMounts {
		if err := cr.unmountOnFail(fd, root); err != nil {
			return err
		}
	}
	// The copy of a shared mount is its peer, and "/" is shared wherever systemd runs: unless it is made a slave here,
	// all that is mounted in the container shows up on the host, and pivot_root refuses to leave such a root.
	if err := mount.SetAttr(fd, mount.Attr{Propagation: p.inward()}, true); err != nil {
		return fmt.Errorf("root.path: setting the propagation of %q: %w", root, err)
	}
	return nil
}

// unmountOnFail takes back what init mounts in the caller's own mount namespace.
func (cr *creation) unmountOnFail(tree int, place string) error {
	fd, err := unix.FcntlInt(uintptr(tree), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
	}
	mine := os.NewFile(uintptr(fd), place)
	cr.files.late = append(cr.files.late, mine)
	cr.onFail(func() {
		at, err := os.OpenFile(place, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return
		}
		defer at.Close()
		if mount.ID(int(at.Fd())) == mount.ID(fd) { // init came as far as that
			_ = unix.Unmount(place, unix.MNT_DETACH)
		}
	})
	return nil
}

// inward is the propagation of what comes from the host: nothing travels back, and, where the root is private, nothing
// arrives either.
func (p *plan) inward() uint64 {
	if p.rootProp&unix.MS_PRIVATE != 0 {
		return unix.MS_PRIVATE
	}
	return unix.MS_SLAVE
}

// planMount parses one entry of mounts[] and opens its source.
func (cr *creation) planMount(i int, m *specs.Mount) error {
	o := mount.ParseOptions(m.Options)
	mp := mountPlan{dest: cr.inRoot(m.Destination), fstype: m.Type, source: m.Source, params: o.Params, fd: -1,
		set: o.Attr.Set, clr: o.Attr.Clear, rset: o.RecAttr.Set, rclr: o.RecAttr.Clear,
		propagation: o.Propagation, copyUp: o.CopyUp}
	if mp.source == "" {
		mp.source = mp.fstype
	}
	switch {
	case o.Remount:
		mp.kind = mountRemount
	case o.Bind || m.Type == "bind":
		mp.kind = mountBind
		src := m.Source
		if !filepath.IsAbs(src) {
			src = filepath.Join(cr.o.Bundle, src)
		}
		mp.recursive = o.Recursive
		image := cr.imageAt(m.Destination)
		if in := cr.inRoot(src); in != src && image == nil {
			mp.source, mp.mapped = in, o.IDMap || len(m.UIDMappings) > 0
			break
		}
		fd, late, err := cr.openBind(src, image, m, &o)
		if err != nil {
			return fmt.Errorf("mounts[%d]%w", i, err)
		}
		mp.dir = mount.IsDir(fd)
		if f := os.NewFile(uintptr(fd), m.Source); late {
			defer f.Close()
			mp.host = src
		} else {
			mp.fd = cr.files.add(f, true)
		}
		if cr.o.BareBinds {
			a, err := bindAttrs(&o, fd, cr.mapped())
			if err != nil { // as if init had met it
				return InitError(fmt.Sprintf("mounting: mounts[%d] (bind of %q on %q): %v", i, src, m.Destination, err))
			}
			mp.set, mp.clr = a.Set, a.Clear
		}
	case m.Type == "cgroup" || m.Type == "cgroup2":
		mp.kind = mountCgroup
	}
	if err := labelMount(i, &mp, cr.o.Spec); err != nil {
		return err
	}
	cr.plan.mounts = append(cr.plan.mounts, mp)
	return nil
}

// inRoot turns a path on the host that lies below the root directory into the container's path, as runc does: an
// earlier mount may have made what a later one names.
func (cr *creation) inRoot(p string) string {
	root := cr.plan.rootPath
	if rest, ok := strings.CutPrefix(path.Clean(p), root); ok && root != "" && root != "/" && (rest == "" || rest[0] == '/') {
		return "/" + strings.TrimPrefix(rest, "/")
	}
	return p
}

// imageAt is the image that a bind mount shows in place of its source, or nil.
func (cr *creation) imageAt(destination string) *ImageMount {
	for i := range cr.o.Images {
		if cr.o.Images[i].Destination == destination {
			return &cr.o.Images[i]
		}
	}
	return nil
}

// keyringName is the session keyring that the container's processes share.
func keyringName(id string) string { return "_ses." + id }
