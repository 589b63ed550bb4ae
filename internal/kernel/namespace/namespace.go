// Package namespace knows the kernel's eight namespaces: their names, clone flags and files, and how to enter them.
package namespace

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Kind is one kind of namespace.
type Kind struct {
	Type string // runtime-spec's word
	File string // below /proc/PID/ns
	Flag uintptr
}

// Kinds lists all of them, in the order in which they are entered: the user namespace first, because it gives the
// right to enter the others, the mount namespace last, because afterwards the host's files are out of reach.
var kinds = [...]Kind{
	{"user", "user", unix.CLONE_NEWUSER},
	{"pid", "pid", unix.CLONE_NEWPID},
	{"network", "net", unix.CLONE_NEWNET},
	{"ipc", "ipc", unix.CLONE_NEWIPC},
	{"uts", "uts", unix.CLONE_NEWUTS},
	{"cgroup", "cgroup", unix.CLONE_NEWCGROUP},
	{"time", "time", unix.CLONE_NEWTIME},
	{"mount", "mnt", unix.CLONE_NEWNS},
}

// Kinds lists all kinds in the order of entering.
func Kinds() []Kind { return kinds[:] }

// ByType finds a kind by runtime-spec's word.
func ByType(t string) (Kind, bool) {
	for _, k := range kinds {
		if k.Type == t {
			return k, true
		}
	}
	return Kind{}, false
}

// Path is where the kernel shows a process's namespace of a kind by runtime-spec's word. What is no kind is nowhere.
func Path(pid int, t string) string {
	file := t
	if k, ok := ByType(t); ok {
		file = k.File
	}
	return "/proc/" + strconv.Itoa(pid) + "/ns/" + file
}

// Open opens the namespace file at path and checks that it is a namespace of the kind wanted (NS_GET_NSTYPE, Linux 4.11).
func Open(path string, k Kind) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s namespace %q: %w", k.Type, path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	if err := Check(f, k); err != nil {
		f.Close()
		return nil, fmt.Errorf("opening %s namespace %q: %w", k.Type, path, err)
	}
	return f, nil
}

// Check tells whether f is a namespace of kind k.
func Check(f *os.File, k Kind) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	if st.Type != unix.NSFS_MAGIC {
		return fmt.Errorf("not a namespace file")
	}
	got, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err != nil {
		return os.NewSyscallError("ioctl NS_GET_NSTYPE", err)
	}
	if uintptr(got) != k.Flag {
		return fmt.Errorf("namespace is of another kind")
	}
	return nil
}

// Inode is the number that /proc/PID/ns/FILE shows for pid ("self" for 0), or 0 when it cannot be read.
func Inode(pid int, k Kind) uint64 {
	p := "self"
	if pid != 0 {
		p = strconv.Itoa(pid)
	}
	l, err := os.Readlink("/proc/" + p + "/ns/" + k.File)
	if err != nil {
		return 0
	}
	_, num, _ := strings.Cut(l, "[")
	n, _ := strconv.ParseUint(strings.TrimSuffix(num, "]"), 10, 64)
	return n
}

// Enter moves the calling thread, which must be locked, into the namespace. Children are what a pid or time
// namespace applies to. A mount namespace needs a thread that shares no file system state with others
// (unshare CLONE_FS). A user namespace cannot be entered by a program with several threads.
func Enter(fd int, flag uintptr) error {
	if flag&unix.CLONE_NEWNS != 0 {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return os.NewSyscallError("unshare CLONE_FS", err)
		}
	}
	return os.NewSyscallError("setns", unix.Setns(fd, int(flag)))
}

// Same tells whether two namespace files are the same namespace.
func Same(a, b string) bool {
	var x, y unix.Stat_t
	return unix.Stat(a, &x) == nil && unix.Stat(b, &y) == nil && x.Ino == y.Ino && x.Dev == y.Dev
}
