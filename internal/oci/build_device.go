package oci

import (
	"fmt"
	"os"
	"path"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/mount"
)

// defaultDevices are what runtime-spec has every container get (config-linux "Default Devices").
var defaultDevices = [...]devicePlan{
	{path: "/dev/null", mode: unix.S_IFCHR | 0o666, dev: unix.Mkdev(1, 3)},
	{path: "/dev/zero", mode: unix.S_IFCHR | 0o666, dev: unix.Mkdev(1, 5)},
	{path: "/dev/full", mode: unix.S_IFCHR | 0o666, dev: unix.Mkdev(1, 7)},
	{path: "/dev/random", mode: unix.S_IFCHR | 0o666, dev: unix.Mkdev(1, 8)},
	{path: "/dev/urandom", mode: unix.S_IFCHR | 0o666, dev: unix.Mkdev(1, 9)},
	{path: "/dev/tty", mode: unix.S_IFCHR | 0o666, dev: unix.Mkdev(5, 0)},
}

func (cr *creation) planDevices() error {
	p := &cr.plan
	p.fillDev = true
	for _, m := range p.mounts {
		if path.Clean(m.dest) == "/dev" && m.kind == mountBind {
			p.fillDev = false
		}
	}
	byPath := map[string]int{}
	add := func(d devicePlan) {
		d.bindFD = -1
		if i, ok := byPath[d.path]; ok {
			p.devices[i] = d
			return
		}
		byPath[d.path] = len(p.devices)
		p.devices = append(p.devices, d)
	}
	for _, d := range defaultDevices {
		add(d)
	}
	for i, d := range cr.o.Spec.Linux.Devices {
		dp, err := planDevice(&d)
		if err != nil {
			return fmt.Errorf("linux.devices[%d]: %w", i, err)
		}
		add(dp)
	}
	if !cr.mapped() && !UnderUser() {
		return nil
	}
	return cr.bindDevices()
}

// mapped tells whether the container lives in another user namespace than ours.
func (cr *creation) mapped() bool {
	return cr.sp.clone&unix.CLONE_NEWUSER != 0 || cr.sp.userNS != nil
}

func planDevice(d *specs.LinuxDevice) (devicePlan, error) {
	out := devicePlan{path: path.Clean(d.Path), mode: 0o666, dev: unix.Mkdev(uint32(d.Major), uint32(d.Minor))}
	if d.FileMode != nil {
		out.mode = uint32(*d.FileMode) & 0o7777
	}
	switch d.Type {
	case "c", "u":
		out.mode |= unix.S_IFCHR
	case "b":
		out.mode |= unix.S_IFBLK
	case "p":
		out.mode |= unix.S_IFIFO
		out.dev = 0
	default:
		return out, fmt.Errorf("type: %q is not one of c, u, b, p", d.Type)
	}
	if !path.IsAbs(d.Path) {
		return out, fmt.Errorf("path: %q is not an absolute path", d.Path)
	}
	if out.mode&unix.S_IFMT != unix.S_IFIFO && (d.Major < 0 || d.Major >= 1<<12 || d.Minor < 0 || d.Minor >= 1<<20) { // linux/kdev_t.h
		return out, fmt.Errorf("major, minor: %d:%d is not the number of a device", d.Major, d.Minor)
	}
	if d.UID != nil {
		out.uid = *d.UID
	}
	if d.GID != nil {
		out.gid = *d.GID
	}
	return out, nil
}

// bindDevices opens the host's nodes, which must be the devices meant.
func (cr *creation) bindDevices() error {
	for i := range cr.plan.devices {
		d := &cr.plan.devices[i]
		fd, late, err := cr.tree(d.path, false)
		if err != nil {
			return fmt.Errorf("device %q: %w", d.path, err)
		}
		f := os.NewFile(uintptr(fd), d.path)
		if d.late = late; late {
			cr.files.owned = append(cr.files.owned, f)
		} else {
			d.bindFD = cr.files.add(f, true)
			// A peer of the host's /dev would carry to the host what a container mounts over its device.
			if err := mount.SetAttr(fd, mount.Attr{Propagation: unix.MS_PRIVATE}, false); err != nil {
				return fmt.Errorf("device %q: setting the propagation: %w", d.path, err)
			}
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return fmt.Errorf("device %q: fstat: %w", d.path, err)
		}
		if st.Mode&unix.S_IFMT != d.mode&unix.S_IFMT || d.dev != 0 && st.Rdev != d.dev {
			return fmt.Errorf("device %q: the host's file is another device", d.path)
		}
	}
	return nil
}
