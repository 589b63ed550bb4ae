package container

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/oci/defaults"
)

// addMounts lists the mounts: the kernel's file systems, the sandbox's files,
// the image's volumes, and what the pod asks for, which replaces any of these.
func addMounts(spec *specs.Spec, in specInput) error {
	asked := in.rec.Config.GetMounts()
	var mounts []specs.Mount
	for _, m := range slices.Concat(kernelMounts(in), sandboxMounts(in), volumeMounts(in)) {
		if !isAsked(asked, m.Destination) {
			mounts = append(mounts, m)
		}
	}
	for _, m := range asked {
		converted, propagation, err := hostMount(m, usersOf(in.sandbox.Config))
		if err != nil {
			return err
		}
		// The root's own propagation must let what the mount asks for through.
		if propagation == "rshared" || (propagation == "rslave" && spec.Linux.RootfsPropagation == "") {
			spec.Linux.RootfsPropagation = propagation
		}
		mounts = append(mounts, converted)
	}
	// A mount below another's destination comes after it.
	slices.SortStableFunc(mounts, func(a, b specs.Mount) int { return depth(a.Destination) - depth(b.Destination) })
	spec.Mounts = mounts
	return nil
}

func depth(p string) int {
	p = path.Clean("/" + p)
	if p == "/" {
		return 0
	}
	return strings.Count(p, "/")
}

func isAsked(asked []*runtimeapi.Mount, destination string) bool {
	return slices.ContainsFunc(asked, func(m *runtimeapi.Mount) bool {
		return mountPlace(m) == destination
	})
}

func mountPlace(m *runtimeapi.Mount) string { return path.Clean("/" + m.GetContainerPath()) }

// kernelMounts are the file systems that the runtime specification expects of
// every Linux container.
func kernelMounts(in specInput) []specs.Mount {
	all := slices.DeleteFunc(defaults.Mounts(), func(m specs.Mount) bool { return m.Destination == "/dev/shm" })
	if !in.rec.Config.GetLinux().GetSecurityContext().GetPrivileged() {
		return all
	}
	for i, m := range all {
		if at := slices.Index(m.Options, "ro"); at >= 0 {
			all[i].Options[at] = "rw"
		}
	}
	return all
}

// sandboxMounts are what the containers of a sandbox share.
func sandboxMounts(in specInput) []specs.Mount {
	var out []specs.Mount
	shm := in.shm
	if usesNode(ipcMode(in.sandbox.Config)) {
		shm = "/dev/shm"
	}
	out = append(out, specs.Mount{Destination: "/dev/shm", Type: "bind", Source: shm, Options: []string{"rbind", "rprivate", "nosuid", "nodev", "noexec"}})
	access := "rw"
	if in.rec.Config.GetLinux().GetSecurityContext().GetReadonlyRootfs() {
		access = "ro"
	}
	for name, destination := range map[string]string{"resolv.conf": "/etc/resolv.conf", "hostname": "/etc/hostname", "hosts": "/etc/hosts"} {
		out = append(out, specs.Mount{Destination: destination, Type: "bind", Source: filepath.Join(in.files, name), Options: []string{"bind", "rprivate", access}})
	}
	slices.SortFunc(out, func(a, b specs.Mount) int { return strings.Compare(a.Destination, b.Destination) })
	return out
}

func volumeMounts(in specInput) []specs.Mount {
	var out []specs.Mount
	for _, v := range in.rec.Volumes {
		out = append(out, specs.Mount{Destination: v.Destination, Type: "bind", Source: v.Host, Options: []string{"rbind", "rprivate", "rw"}})
	}
	return out
}

// hostMount is one mount that the pod asks for.
func hostMount(m *runtimeapi.Mount, users *runtimeapi.UserNamespace) (specs.Mount, string, error) {
	if m.GetContainerPath() == "" {
		return specs.Mount{}, "", invalid("mount of %q has no container path", m.GetHostPath())
	}
	if m.GetImage().GetImage() != "" {
		// The supervisor knows the image by the place of the mount.
		return specs.Mount{Destination: mountPlace(m), Type: "bind", Source: m.GetImage().GetImage(), Options: []string{"bind", "rprivate", "ro"}}, "rprivate", nil
	}
	if users == nil && len(m.GetUidMappings())+len(m.GetGidMappings()) > 0 {
		return specs.Mount{}, "", invalid("mount at %q: id mappings need a user namespace", m.GetContainerPath())
	}
	propagation := "rprivate"
	switch m.GetPropagation() {
	case runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER:
		propagation = "rslave"
	case runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL:
		propagation = "rshared"
	}
	access := "rw"
	switch {
	case m.GetRecursiveReadOnly():
		// KEP-3857: only together with read-only and without propagation.
		if !m.GetReadonly() || propagation != "rprivate" {
			return specs.Mount{}, "", invalid("mount at %q: recursive read-only needs a read-only mount without propagation", m.GetContainerPath())
		}
		access = "rro"
	case m.GetReadonly():
		access = "ro"
	}
	source, err := filepath.EvalSymlinks(m.GetHostPath())
	if err != nil {
		return specs.Mount{}, "", invalid("mount source %q: %v", m.GetHostPath(), err)
	}
	if propagation == "rshared" {
		if err := checkShared(source); err != nil {
			return specs.Mount{}, "", err
		}
	}
	return specs.Mount{
		Destination: mountPlace(m), Type: "bind", Source: source,
		Options:     []string{"rbind", propagation, access},
		UIDMappings: mappings(m.GetUidMappings()), GIDMappings: mappings(m.GetGidMappings()),
	}, propagation, nil
}

// checkShared refuses a source from which nothing would come back to the node: what a container mounts there would stay
// in it unseen, and a storage driver's volumes with it.
func checkShared(source string) error {
	above, err := mountinfo.GetMounts(mountinfo.ParentsFilter(source))
	if err != nil {
		return fmt.Errorf("mount source %q: %w", source, err)
	}
	var on *mountinfo.Info
	for _, m := range above {
		if on == nil || len(m.Mountpoint) >= len(on.Mountpoint) { // the later one lies on top
			on = m
		}
	}
	if on != nil && !strings.Contains(on.Optional, "shared:") {
		return invalid("mount source %q: bidirectional propagation needs a shared mount, and it is on %q, which is not one; `mount --make-rshared %s` makes it one", source, on.Mountpoint, on.Mountpoint)
	}
	return nil
}

// makeHostPaths makes the directories that mounts name and that are missing, as
// other runtimes do.
func makeHostPaths(config *runtimeapi.ContainerConfig) error {
	for _, m := range config.GetMounts() {
		if m.GetHostPath() == "" {
			continue
		}
		if !filepath.IsAbs(m.GetHostPath()) {
			return invalid("mount source %q is not an absolute path", m.GetHostPath())
		}
		if _, err := os.Stat(m.GetHostPath()); os.IsNotExist(err) {
			if err := os.MkdirAll(m.GetHostPath(), 0o755); err != nil {
				return fmt.Errorf("making mount source %q: %w", m.GetHostPath(), err)
			}
		}
	}
	return nil
}

// hostDevices finds a device, or all devices below a directory.
func hostDevices(host, inside string) ([]specs.LinuxDevice, error) {
	if inside == "" {
		inside = host
	}
	if real, err := filepath.EvalSymlinks(host); err == nil {
		host = real
	}
	info, err := os.Stat(host)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		d, ok := deviceOf(host, inside)
		if !ok {
			return nil, fmt.Errorf("%q is no device", host)
		}
		return []specs.LinuxDevice{d}, nil
	}
	var out []specs.LinuxDevice
	err = filepath.WalkDir(host, func(p string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil //nolint:nilerr // what cannot be read is no device for us
		}
		rel, _ := filepath.Rel(host, p)
		if d, ok := deviceOf(p, path.Join(inside, rel)); ok {
			out = append(out, d)
		}
		return nil
	})
	return out, err
}

func deviceOf(host, inside string) (specs.LinuxDevice, bool) {
	var st unix.Stat_t
	if unix.Lstat(host, &st) != nil {
		return specs.LinuxDevice{}, false
	}
	d := specs.LinuxDevice{Path: inside, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev))}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		d.Type = "c"
	case unix.S_IFBLK:
		d.Type = "b"
	default:
		return specs.LinuxDevice{}, false
	}
	mode := os.FileMode(st.Mode & 0o7777)
	uid, gid := st.Uid, st.Gid
	d.FileMode, d.UID, d.GID = &mode, &uid, &gid
	return d, true
}

// nodeDevices are all devices of the node but terminals and shared memory,
// which each container has its own of.
func nodeDevices() []specs.LinuxDevice {
	all, _ := hostDevices("/dev", "/dev")
	own := []string{"/dev/pts/", "/dev/shm/", "/dev/mqueue/", "/dev/fd/"}
	return slices.DeleteFunc(all, func(d specs.LinuxDevice) bool {
		return d.Path == "/dev/console" || d.Path == "/dev/ptmx" || slices.ContainsFunc(own, func(p string) bool { return strings.HasPrefix(d.Path, p) })
	})
}
