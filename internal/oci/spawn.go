package oci

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/kernel/namespace"
	"go.skiff.dev/skiff/internal/kernel/pidfd"
	"go.skiff.dev/skiff/internal/kernel/thread"
)

// spawn describes one clone of init.
type spawn struct {
	exe         *os.File
	files       []*os.File // 0.. in the child: the process's own, then the socket to the parent, which brings the others
	clone       uintptr    // new namespaces
	pidNS       *os.File   // pid namespace to be born in; nil: the caller's, or a new one by clone
	newTime     bool
	timeNS      *os.File
	timeOffsets string // lines of timens_offsets
	userNS      *os.File
	joins       []early    // namespaces entered before a user namespace is: they may belong to the caller's
	tasks       []*os.File // v1: "tasks" files of the cgroups that are entered before anything else
	hybrid      bool       // into is beside cgroups of version 1
	brief       bool       // init becomes the process at once: see entrance
	into        *os.File   // v2, and with tasks on a hybrid machine: directory of the cgroup that init is cloned into
	alone       bool       // with into: nobody who shares our memory may be there, see cgroup.DiesAsOne
	affinity    []byte     // CPUs of init until it sets those of the process; nil: the caller's
	uids        []syscall.SysProcIDMap
	gids        []syscall.SysProcIDMap
}

// early is a namespace to be entered by the thread that clones init.
type early struct {
	file *os.File
	flag uint64
	done bool // else it is left to init: nobody here has the right
}

// child is a running init.
type child struct {
	pid    int
	pidfd  *os.File
	placed bool // in its cgroups already

	entrance bool // came through one, see there
}

// bornIn makes the child be born in the cgroup.
func (s *spawn) bornIn(m *cgroup.Manager, files *fileList) error {
	tasks, err := m.Tasks()
	if err != nil {
		return err
	}
	s.tasks = append(s.tasks, tasks...)
	files.owned = append(files.owned, tasks...)
	into, err := m.Into()
	if into != nil {
		files.owned = append(files.owned, into)
		s.into, s.hybrid = into, !m.Layout.V2
	}
	s.alone = m.DiesAsOne()
	if s.alone && (s.userNS != nil || s.clone&unix.CLONE_NEWUSER != 0) {
		s.into = nil // it would be cloned by who has no right to that cgroup
	}
	if errors.Is(err, os.ErrNotExist) && s.tasks == nil {
		return nil // removed by who is in it: the caller places the child where it can
	}
	return err
}

// run clones init. It is cloned into a cgroup of version 2 where that is allowed, else it moves there afterwards, although
// that takes longer: a kernel or a profile around us may not have clone3, a cgroup may take no process, and with
// "nsdelegate" nobody crosses the border of a cgroup namespace from within (cgroups(7)).
func (s *spawn) run() (*child, error) {
	into := s.into
	if into == nil {
		return s.cloneInit()
	}
	if !slices.ContainsFunc(s.joins, func(j early) bool { return j.flag&unix.CLONE_NEWCGROUP != 0 }) {
		if c, err := s.cloneInit(); err == nil {
			return c, nil
		}
	}
	s.into = nil
	c, err := s.cloneInit()
	if err != nil || !s.hybrid { // version 2 alone: the caller places it
		return c, err
	}
	if err := moveInto(into, c.pid); err != nil {
		c.kill()
		return nil, err
	}
	c.placed = true
	return c, nil
}

func moveInto(dir *os.File, pid int) error {
	fd, err := unix.Openat(int(dir.Fd()), "cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir.Name() + "/cgroup.procs", Err: err}
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(strconv.Itoa(pid))); err != nil {
		return fmt.Errorf("adding pid %d to %s: %w", pid, dir.Name(), err)
	}
	return nil
}

// cloneInit works on a thread of its own where that thread changes. A pid namespace applies to the children of the thread
// that entered it, so that thread is locked, and given up if it cannot find back.
func (s *spawn) cloneInit() (*child, error) {
	start := s.fork
	switch {
	case s.staged():
		if s.clone&unix.CLONE_NEWUSER != 0 {
			// The stage enters namespaces one after the other; who makes a time namespace in a new user namespace
			// has to be in that one first.
			ns, err := userNamespace(s.uids, s.gids)
			if err != nil {
				return nil, err
			}
			asked := *s
			defer func() {
				ns.Close()
				s.userNS, s.clone = asked.userNS, asked.clone
			}()
			s.userNS = ns
			s.clone &^= unix.CLONE_NEWUSER
		}
		start = s.runStaged
	case s.pidNS != nil:
		start = s.forkInPidNS
	}
	if len(s.affinity) > 0 || len(s.joins) > 0 {
		return thread.Apart(func() (*child, error) { return s.prepared(start) })
	}
	if s.pidNS == nil || s.staged() {
		return start()
	}
	return thread.Apart(start)
}

func (s *spawn) forkInPidNS() (*child, error) {
	own, err := os.Open("/proc/self/ns/pid")
	if err != nil {
		return nil, err
	}
	defer own.Close()
	if err := namespace.Enter(int(s.pidNS.Fd()), unix.CLONE_NEWPID); err != nil {
		return nil, fmt.Errorf("entering pid namespace: %w", err)
	}
	c, err := s.fork()
	if namespace.Enter(int(own.Fd()), unix.CLONE_NEWPID) == nil {
		runtime.UnlockOSThread() // else the thread ends with this goroutine
	}
	return c, err
}

// prepared starts init on the CPUs asked for and in namespaces of the caller's user namespace: a child has its parent's.
// The thread stays locked and so ends with all that, whatever start does.
func (s *spawn) prepared(start func() (*child, error)) (*child, error) {
	if len(s.affinity) > 0 {
		if err := setAffinity(s.affinity); err != nil {
			return nil, fmt.Errorf("process.execCPUAffinity.initial: %w", err)
		}
	}
	for i := range s.joins {
		j := &s.joins[i]
		err := namespace.Enter(int(j.file.Fd()), uintptr(j.flag))
		if err != nil && !errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("entering namespaces: %w", err)
		}
		j.done = err == nil
	}
	return start()
}

// joinEarly takes from the namespaces that init is to enter those that come before a user namespace. A process that has
// entered that one has no rights over what belongs to another, such as the network that a caller has made.
func (s *spawn) joinEarly(joins []join, files *fileList) {
	for _, j := range joins {
		if f := j.flag & earlyKinds; f != 0 {
			s.joins = append(s.joins, early{file: files.files[j.fd], flag: f})
		}
	}
}

// left are the namespaces that are still to be entered by init.
func (s *spawn) left(joins []join, files *fileList) (out []join) {
	for _, j := range joins {
		for _, e := range s.joins {
			if e.done && e.file == files.files[j.fd] {
				j.flag &^= e.flag
			}
		}
		if j.flag != 0 {
			out = append(out, j)
		}
	}
	return out
}

// earlyKinds are those that a thread of a Go program can enter and clone a child into.
const earlyKinds = unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// sock is the number of init's socket to the parent.
func (s *spawn) sock() int { return len(s.files) - 1 }

// places tells whether the child is born in its cgroups.
func (s *spawn) places() bool { return len(s.tasks) > 0 || s.into != nil }

func (s *spawn) staged() bool {
	return s.userNS != nil || s.timeNS != nil || s.newTime || s.alone && s.into != nil
}

func (s *spawn) fork() (*child, error) {
	exe, files, args := s.exe, s.files, []string{"skiff-oci", "init", strconv.Itoa(s.sock())}
	throughEntrance := false
	if len(s.tasks) > 0 && !s.brief {
		entrance, with, err := s.entrance()
		if err != nil {
			return nil, err
		}
		defer entrance.Close()
		exe, files, throughEntrance = entrance, with, true
	}
	fds := make([]uintptr, len(files))
	for i, f := range files {
		fds[i] = f.Fd()
	}
	fd := -1
	attr := &syscall.ProcAttr{
		Dir: "/", Files: fds,
		Env: initEnv(),
		Sys: &syscall.SysProcAttr{Cloneflags: s.clone, PidFD: &fd, UidMappings: s.uids, GidMappings: s.gids},
	}
	s.cloneInto(attr.Sys)
	if len(s.uids) > 0 {
		groups := mayDropGroups("self")
		attr.Sys.Credential = &syscall.Credential{NoSetGroups: !groups}
		attr.Sys.GidMappingsEnableSetgroups = groups
	}
	path, done, err := execPath(exe, fds)
	if err != nil {
		return nil, err
	}
	defer done()
	pid, err := syscall.ForkExec(path, args, attr)
	runtime.KeepAlive(s)
	if err != nil {
		return nil, fmt.Errorf("cloning init: %w", err)
	}
	return &child{pid: pid, pidfd: os.NewFile(uintptr(fd), "pidfd"), placed: s.places(), entrance: throughEntrance}, nil
}

// deliver sends init the files that it was not born with, and its plan.
func (s *spawn) deliver(p *plan, files *fileList, w *wire, c *child) error {
	if s.brief && !s.staged() {
		for _, f := range s.tasks {
			p.tasks = append(p.tasks, files.add(f, false))
		}
	}
	var enc coder
	p.code(&enc)
	err := w.sendFiles(files.sent())
	if err == nil {
		err = w.sendPlan(enc.b)
	}
	if lost(err) {
		return c.died()
	}
	if err != nil {
		return fmt.Errorf("sending the plan: %w", err)
	}
	return nil
}

// mayDropGroups tells whether a process, or for "self" one in a new user namespace of ours, can change its groups: a user
// who is root nowhere could leave one by that which denies it something (user_namespaces(7), "setgroups").
func mayDropGroups(pid string) bool {
	b, err := os.ReadFile("/proc/" + pid + "/setgroups")
	return (err != nil || strings.TrimSpace(string(b)) != "deny") && (pid != "self" || os.Geteuid() == 0)
}

func (s *spawn) cloneInto(attr *syscall.SysProcAttr) {
	if s.into != nil {
		attr.UseCgroupFD, attr.CgroupFD = true, int(s.into.Fd())
	}
}

// initEnv spares init what it has no use for: it allocates little and lives for a millisecond, so no collector runs,
// and it does one thing at a time, so Go need not look through cgroups for the number of CPUs.
func initEnv() []string { return []string{"GOGC=off", "GOMAXPROCS=1"} }

// execPath is a path to an open file that still means this file in the child, where the descriptors were shuffled into
// their new places before the path is looked up: a copy with a number beyond all that the shuffling touches.
func execPath(f *os.File, fds []uintptr) (path string, done func(), err error) {
	top := len(fds)
	for _, fd := range fds {
		top = max(top, int(fd))
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, top+len(fds)+8)
	if err != nil {
		return "", nil, os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
	}
	return "/proc/self/fd/" + strconv.Itoa(fd), func() { unix.Close(fd) }, nil
}

// kill ends a half-made child and reaps it.
func (c *child) kill() {
	_ = pidfd.Signal(c.pidfd, unix.SIGKILL)
	_, _ = pidfd.Wait(c.pidfd)
	c.pidfd.Close()
}

// died explains why the socket to init closed before init said that it was ready.
func (c *child) died() error {
	_ = pidfd.Signal(c.pidfd, unix.SIGKILL)
	st, err := pidfd.Wait(c.pidfd)
	switch {
	case err != nil:
		return errors.New("init died")
	case st.Signal != 0:
		return fmt.Errorf("init was killed by signal %d (%v)", int(st.Signal), st.Signal)
	}
	if c.entrance && st.Code > stageFirst && st.Code < len(stageSteps) {
		return fmt.Errorf("init ended while %s", stageSteps[st.Code])
	}
	return fmt.Errorf("init ended with exit code %d", st.Code)
}
