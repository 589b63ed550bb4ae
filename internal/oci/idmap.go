package oci

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/mount"
	"go.skiff.dev/skiff/internal/kernel/pidfd"
)

// mapMount makes an id-mapped mount (Linux 5.12) of a bind mount that nobody has attached yet: with the mappings that
// the mount names, or with "idmap"/"ridmap" alone those of the container. The files keep their owners on disk and show
// others in the container.
func (cr *creation) mapMount(fd int, m *specs.Mount, o *mount.Options) error {
	uids, gids := m.UIDMappings, m.GIDMappings
	if len(uids) == 0 {
		if !o.IDMap {
			return nil
		}
		if cr.sp.userNS != nil { // a namespace that exists has its mappings
			return idMapTree(fd, cr.sp.userNS, o.IDMapRec)
		}
		l := cr.o.Spec.Linux
		if uids, gids = l.UIDMappings, l.GIDMappings; len(uids) == 0 {
			return errors.New("options: idmap needs uidMappings and gidMappings, of the mount or of the container")
		}
	}
	ns, err := userNamespace(idMap(uids), idMap(gids))
	if err != nil {
		return err
	}
	defer ns.Close()
	return idMapTree(fd, ns, o.IDMapRec)
}

func idMapTree(fd int, ns *os.File, recursive bool) error {
	attr := mount.Attr{Set: unix.MOUNT_ATTR_IDMAP, UserNS: int(ns.Fd())}
	if err := mount.SetAttr(fd, attr, recursive); err != nil {
		return fmt.Errorf("mapping ids: %w", err)
	}
	return nil
}

// mapSource maps the ids of a bind mount that init made of a source in the root.
func (cr *creation) mapSource(index string, tree *os.File) error {
	i, err := strconv.Atoi(index)
	if err != nil || i < 0 || i >= len(cr.o.Spec.Mounts) || tree == nil {
		return fmt.Errorf("mapping ids: message %q", index)
	}
	defer tree.Close()
	m := &cr.o.Spec.Mounts[i]
	o := mount.ParseOptions(m.Options)
	if err := cr.mapMount(int(tree.Fd()), m, &o); err != nil {
		return fmt.Errorf("mounts[%d]: %w", i, err)
	}
	return nil
}

// mapRoot mounts the overlay of a container in another user namespace: here, because layers can be id-mapped only by who
// owns their file system. Files keep their owners on disk; what the container writes belongs to the mapped ids.
func (cr *creation) mapRoot(ov *Overlay) error {
	l := cr.o.Spec.Linux
	uids, gids := idMap(l.UIDMappings), idMap(l.GIDMappings)
	uid, gid := rootOf(uids), rootOf(gids)
	if uid < 0 || gid < 0 {
		return errors.New("linux.uidMappings, linux.gidMappings: an overlay root needs a mapping of id 0")
	}
	for _, dir := range []string{ov.Upper, ov.Work} {
		if dir == "" {
			continue
		}
		if err := os.Lchown(dir, uid, gid); err != nil {
			return err
		}
	}
	ns, err := userNamespace(uids, gids)
	if err != nil {
		return err
	}
	defer ns.Close()
	var attrs int
	if ov.ReadOnly && ov.Upper == "" {
		attrs = unix.MOUNT_ATTR_RDONLY
	}
	fd, err := mount.MappedOverlay(ov.Lower, ov.Upper, ov.Work, ov.Volatile, attrs, int(ns.Fd()))
	if err != nil {
		return err
	}
	cr.plan.rootFD = cr.files.add(os.NewFile(uintptr(fd), "root"), true)
	return mount.SetAttr(fd, mount.Attr{Propagation: cr.plan.inward()}, true)
}

// openImage mounts an image as a volume, with the owners that its files have on disk.
func (cr *creation) openImage(im *ImageMount) (int, error) {
	if !cr.mapped() {
		return mount.Image(im.Lower, im.SubPath, -1)
	}
	ns, err := userNamespace(idMap(cr.o.Spec.Linux.UIDMappings), idMap(cr.o.Spec.Linux.GIDMappings))
	if err != nil {
		return -1, err
	}
	defer ns.Close()
	return mount.Image(im.Lower, im.SubPath, int(ns.Fd()))
}

// rootOf is what id 0 is on the host, or -1.
func rootOf(ids []syscall.SysProcIDMap) int {
	for _, m := range ids {
		if m.ContainerID == 0 {
			return m.HostID
		}
	}
	return -1
}

// userNamespace makes a user namespace with the mappings given; it lives as long as the descriptor. The process that
// it takes to make one is the pause program, ended at once.
func userNamespace(uids, gids []syscall.SysProcIDMap) (*os.File, error) {
	prog, err := memfile("userns", image(pauseProgram))
	if err != nil {
		return nil, err
	}
	defer prog.Close()
	path, done, err := execPath(prog, nil)
	if err != nil {
		return nil, err
	}
	defer done()
	fd := -1
	pid, err := syscall.ForkExec(path, []string{"userns"}, &syscall.ProcAttr{Dir: "/", Sys: &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: uids, GidMappings: gids, GidMappingsEnableSetgroups: mayDropGroups("self"), PidFD: &fd}})
	if err != nil {
		return nil, fmt.Errorf("making a user namespace: %w", err)
	}
	c := &child{pid: pid, pidfd: os.NewFile(uintptr(fd), "userns")}
	defer c.kill()
	ns, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/user")
	if err != nil {
		return nil, fmt.Errorf("opening the user namespace: %w", err)
	}
	if !pidfd.Alive(c.pidfd) { // then the path could have been another process's
		ns.Close()
		return nil, errors.New("making a user namespace: its process died")
	}
	return ns, nil
}
