package oci

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/mount"
)

func (s *initState) rootDir() mount.Root { return mount.Root{FD: s.root} }

func (s *initState) mountAll() error {
	for i := range s.mounts {
		m := &s.mounts[i]
		err := s.openSource(i, m)
		if err == nil {
			err = s.mountOne(m)
		}
		if err != nil {
			return fmt.Errorf("mounts[%d] (%s on %q): %w", i, m.what(), m.dest, err)
		}
	}
	return nil
}

// openSource opens the source of a bind mount that lies in the root. Its ids are mapped by the parent, which owns the file
// system where we perhaps do not.
func (s *initState) openSource(i int, m *mountPlan) error {
	if m.kind != mountBind || m.fd >= 0 {
		return nil
	}
	from, err := s.rootDir().Path(m.source)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	if m.fd, err = mount.Clone(from, "", m.recursive); err != nil {
		return err
	}
	m.dir = mount.IsDir(m.fd)
	if !m.mapped {
		return nil
	}
	if err := s.up.send(msgMap, strconv.Itoa(i), m.fd); err != nil {
		return os.NewSyscallError("sendmsg", err)
	}
	return s.up.await()
}

func (m *mountPlan) what() string {
	if m.kind == mountBind {
		return fmt.Sprintf("bind of %q", m.source)
	}
	return m.fstype
}

func (s *initState) mountOne(m *mountPlan) error {
	switch m.kind {
	case mountBind:
		return s.mountBind(m)
	case mountCgroup:
		return s.mountCgroups(m)
	case mountRemount:
		return s.remount(m)
	}
	return s.mountFS(m)
}

func (s *initState) mountFS(m *mountPlan) error {
	covered := s.coveredMode(m)
	at, err := s.mountpoint(m)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	if covered != "" {
		m.params = append(m.params, covered)
	}
	fd, err := s.newFS(m)
	if err != nil {
		return err
	}
	if m.copyUp {
		if err := s.copyUp(at, fd); err != nil {
			return fmt.Errorf("copying up: %w", err)
		}
	}
	late := m.fstype == "tmpfs" && m.set&unix.MOUNT_ATTR_RDONLY != 0
	if late { // other mounts and devices still get their places there: finishRoot makes it read-only
		m.set &^= unix.MOUNT_ATTR_RDONLY
	}
	if err := finishMount(m, fd, at); err != nil {
		return err
	}
	if late {
		s.late = append(s.late, fd)
		return nil
	}
	if m.fstype == "devpts" {
		s.devpts = fd
		return nil
	}
	if m.fstype == "proc" && s.proc < 0 {
		s.proc = fd
		return nil
	}
	return unix.Close(fd)
}

// coveredMode is the mode option of a tmpfs that covers a directory of the image and names none itself: it looks like
// what it covers, as in runc, and not like a directory for everybody.
func (s *initState) coveredMode(m *mountPlan) string {
	if m.fstype != "tmpfs" || slices.ContainsFunc(m.params, func(p string) bool { return strings.HasPrefix(p, "mode=") }) {
		return ""
	}
	fd, err := s.rootDir().Path(m.dest)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return ""
	}
	return fmt.Sprintf("mode=%#o", st.Mode&0o7777)
}

// newFS makes the file system. A user namespace without its own network or pid namespace may not mount sysfs or proc;
// the host's is bound there, as every runtime does.
func (s *initState) newFS(m *mountPlan) (int, error) {
	fd, err := mount.FS(m.fstype, m.source, m.params, int(m.set&^unix.MOUNT_ATTR_RDONLY))
	if err == nil {
		return fd, nil
	}
	if m.fstype == "sysfs" && errors.Is(err, unix.EPERM) {
		return mount.Clone(unix.AT_FDCWD, "/sys", true)
	}
	return -1, err
}

// finishMount attaches fd and gives the mount its flags. Flags come before attaching, so that no process ever sees the
// mount without them, except propagation to peers, which the kernel only knows for attached mounts.
func finishMount(m *mountPlan, fd, at int) error {
	if err := mount.SetAttr(fd, mount.Attr{Set: m.set, Clear: m.clr}, false); err != nil {
		return err
	}
	if err := mount.SetAttr(fd, mount.Attr{Set: m.rset, Clear: m.rclr}, true); err != nil {
		return err
	}
	if err := mount.Attach(fd, at); err != nil {
		return err
	}
	for _, p := range m.propagation {
		if err := mount.SetAttr(fd, mount.Attr{Propagation: p &^ unix.MS_REC}, p&unix.MS_REC != 0); err != nil {
			return err
		}
	}
	return nil
}

// mountpoint finds or makes the place of a mount. proc and sysfs want a real directory: through a link their files,
// to which later steps write, could be someone else's (CVE-2019-19921, CVE-2023-27561).
func (s *initState) mountpoint(m *mountPlan) (int, error) {
	if m.fstype == "proc" || m.fstype == "sysfs" {
		fd, err := s.rootDir().MkdirAll(m.dest, 0o755)
		if err != nil {
			return -1, notOrdinary(m, err)
		}
		unix.Close(fd)
		fd, err = s.rootDir().RealDir(m.dest)
		if err != nil {
			return -1, notOrdinary(m, err)
		}
		return fd, nil
	}
	if m.kind == mountBind && !m.dir {
		return s.rootDir().File(m.dest, 0o755)
	}
	return s.rootDir().MkdirAll(m.dest, 0o755)
}

func notOrdinary(m *mountPlan, err error) error {
	return fmt.Errorf("filesystem %q must be mounted on ordinary directory: %w", m.fstype, err)
}

func (s *initState) mountBind(m *mountPlan) error {
	at, err := s.mountpoint(m)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	if err := checkProcTarget(m, at); err != nil {
		return err
	}
	if len(m.propagation) == 0 {
		p := uint64(unix.MS_SLAVE)
		if s.rootProp&unix.MS_PRIVATE != 0 {
			p = unix.MS_PRIVATE
		}
		if err := mount.SetAttr(m.fd, mount.Attr{Propagation: p}, true); err != nil {
			return err
		}
	}
	if err := finishMount(m, m.fd, at); err != nil {
		return err
	}
	return unix.Close(m.fd)
}

// overProc are the files of procfs that lxcfs and its like may cover; anything else below /proc would let a container
// redirect what later steps write (CVE-2019-16884).
var overProc = [...]string{
	"cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "net/dev",
	"sys/kernel/ns_last_pid", "sys/crypto/fips_enabled",
}

// checkProcTarget refuses to bind anything but a procfs on /proc, and anything but the files above below it.
func checkProcTarget(m *mountPlan, at int) error {
	dest := path.Clean("/" + m.dest)
	if dest == "/proc" {
		if mount.Magic(m.fd) != unix.PROC_SUPER_MAGIC {
			return errors.New("only a procfs may be mounted on /proc")
		}
		return nil
	}
	if mount.Magic(at) != unix.PROC_SUPER_MAGIC {
		return nil
	}
	rel := strings.TrimPrefix(dest, "/proc/")
	for _, ok := range overProc {
		if rel == ok {
			return nil
		}
	}
	return fmt.Errorf("%q cannot be mounted because it is inside /proc", m.dest)
}

// remount changes the flags of a mount that is there already, and what its file system was told.
func (s *initState) remount(m *mountPlan) error {
	fd, err := s.rootDir().Path(m.dest)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := mount.Reconfigure(fd, m.fstype, m.params); err != nil {
		return err
	}
	if err := mount.SetAttr(fd, mount.Attr{Set: m.set, Clear: m.clr}, false); err != nil {
		return err
	}
	return mount.SetAttr(fd, mount.Attr{Set: m.rset, Clear: m.rclr}, true)
}
