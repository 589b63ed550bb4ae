package oci

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/internal/kernel/mount"
	"skiff.dev/skiff/internal/kernel/pidfd"
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
	attr := mount.Attr{Set: unix.MOUNT_ATTR_IDMAP, UserNS: int(ns.Fd())}
	if err := mount.SetAttr(fd, attr, o.IDMapRec); err != nil {
		return fmt.Errorf("mapping ids: %w", err)
	}
	return nil
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
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: uids, GidMappings: gids, GidMappingsEnableSetgroups: true, PidFD: &fd}})
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
