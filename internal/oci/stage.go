package oci

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/pidfd"
)

// A user or time namespace can only be entered by a process with a single thread, which no Go program ever is. So a
// small program, the stage, is run in between: it enters the namespaces, becomes root in the user namespace, and clones
// init as a child of its own parent (CLONE_PARENT), with the new namespaces owned by the user namespace it entered:
//
//	us                     stage                                      init
//	fork, exec stage  -->  prctl(not dumpable)
//	                       setns(user), setns(time), setns(pid)
//	                       unshare(time), write offsets
//	                       setgroups(), setresgid(0), setresuid(0)
//	                       clone(CLONE_PARENT | new namespaces)  -->  execveat(init)
//	                       (clone3 into the cgroup, without a user namespace)
//	read pid          <--  write(pid)
//	waitid(stage)     <--  exit(0), or the number of the step that failed

// stage steps, as exit codes.
var stageSteps = [...]string{
	"", "entering the user namespace", "entering the time namespace", "entering the pid namespace",
	"making the time namespace", "opening timens_offsets", "writing timens_offsets", "becoming group 0 in the user namespace",
	"becoming user 0 in the user namespace", "cloning init", "executing init", "entering the cgroups",
}

const (
	_ = iota
	stageUser
	stageTime
	stagePID
	stageNewTime
	stageOpenOffsets
	stageOffsets
	stageGID
	stageUID
	stageClone
	stageExec
	stageCgroup
)

// stageFirst is below the numbers that only an entrance ends with: small ones are init's own exit codes.
const stageFirst = stageClone

// stageProgram is written for one use: all numbers are known.
func (s *spawn) stageProgram(exe, status int, user, time, pid, into int, tasks []int) func(*assembler) {
	return func(a *assembler) {
		a.call(unix.SYS_PRCTL, num(unix.PR_SET_DUMPABLE), num(0), num(0), num(0), num(0))
		enterCgroups(a, tasks)
		for _, n := range [...]struct {
			fd   int
			flag uint64
			code uint32
		}{{user, unix.CLONE_NEWUSER, stageUser}, {time, unix.CLONE_NEWTIME, stageTime}, {pid, unix.CLONE_NEWPID, stagePID}} {
			if n.fd >= 0 {
				a.call(unix.SYS_SETNS, num(n.fd), num(n.flag))
				a.exitIfNegative(n.code)
			}
		}
		if s.newTime {
			s.stageNewTime(a)
		}
		if user >= 0 {
			a.call(unix.SYS_SETGROUPS, num(0), num(0)) // denied where the namespace denies it for ever
			a.call(unix.SYS_SETRESGID, num(0), num(0), num(0))
			a.exitIfNegative(stageGID)
			a.call(unix.SYS_SETRESUID, num(0), num(0), num(0))
			a.exitIfNegative(stageUID)
		}
		argv, envv := s.initArgs(a)
		if into >= 0 {
			args := cloneArgs(uint64(s.clone|unix.CLONE_PARENT)|unix.CLONE_INTO_CGROUP, into)
			a.call(unix.SYS_CLONE3, a.ref(args), num(len(args)))
		} else {
			a.call(unix.SYS_CLONE, num(s.clone|unix.CLONE_PARENT|uintptr(unix.SIGCHLD)), num(0), num(0), num(0), num(0))
		}
		a.exitIfNegative(stageClone)
		a.ifZero(func() {
			a.call(unix.SYS_EXECVEAT, num(exe), a.cstring(""), argv, envv, num(unix.AT_EMPTY_PATH))
			a.call(unix.SYS_EXIT_GROUP, num(stageExec))
		})
		a.callWithResult(unix.SYS_WRITE, num(status), 8)
		a.call(unix.SYS_EXIT_GROUP, num(0))
	}
}

// cloneArgs is a struct clone_args (clone3(2)) with flags and a cgroup. Its exit_signal stays 0: with CLONE_PARENT it is the
// caller's own.
func cloneArgs(flags uint64, cgroup int) []byte {
	args := make([]byte, 11*8)
	binary.NativeEndian.PutUint64(args, flags)
	binary.NativeEndian.PutUint64(args[10*8:], uint64(cgroup))
	return args
}

// clonesInto tells whether the stage clones init into a cgroup. In a user namespace it has no right to that, and is born
// there itself.
func (s *spawn) clonesInto() bool { return s.into != nil && s.userNS == nil }

func (s *spawn) stageNewTime(a *assembler) {
	a.call(unix.SYS_UNSHARE, num(unix.CLONE_NEWTIME))
	a.exitIfNegative(stageNewTime)
	if s.timeOffsets == "" {
		return
	}
	// In the caller's mount namespace this is the host's procfs. The stage's next descriptor is the first free one.
	fd := len(s.files) + s.stageFiles() + len(s.tasks)
	a.call(unix.SYS_OPENAT, num(uint32(0xffffff9c)), a.cstring("/proc/self/timens_offsets"), num(unix.O_WRONLY|unix.O_CLOEXEC), num(0))
	a.exitIfNegative(stageOpenOffsets)
	a.call(unix.SYS_WRITE, num(fd), a.ref([]byte(s.timeOffsets)), num(len(s.timeOffsets)))
	a.exitIfNegative(stageOffsets)
	a.call(unix.SYS_CLOSE, num(fd))
}

// stageFiles counts the descriptors that the stage has besides init's.
func (s *spawn) stageFiles() int {
	n := 2
	for _, f := range []*os.File{s.userNS, s.timeNS, s.pidNS} {
		if f != nil {
			n++
		}
	}
	if s.clonesInto() {
		n++
	}
	return n
}

// runStaged clones init by way of the stage.
func (s *spawn) runStaged() (*child, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	defer w.Close()
	files := fileList{files: append([]*os.File{}, s.files...)}
	exe, status := files.add(s.exe, false), files.add(w, false)
	ns := [3]int{-1, -1, -1}
	for i, f := range []*os.File{s.userNS, s.timeNS, s.pidNS} {
		if f != nil {
			ns[i] = files.add(f, false)
		}
	}
	into := -1
	if s.clonesInto() {
		into = files.add(s.into, false)
	}
	var tasks []int
	for _, f := range s.tasks {
		tasks = append(tasks, files.add(f, false))
	}
	prog, err := memfile("stage", image(s.stageProgram(exe, status, ns[0], ns[1], ns[2], into, tasks)))
	if err != nil {
		return nil, err
	}
	defer prog.Close()
	fds := make([]uintptr, len(files.list()))
	for i, f := range files.list() {
		fds[i] = f.Fd()
	}
	fd := -1
	path, done, err := execPath(prog, fds)
	if err != nil {
		return nil, err
	}
	defer done()
	attr := &syscall.ProcAttr{Dir: "/", Files: fds, Sys: &syscall.SysProcAttr{PidFD: &fd}}
	if !s.clonesInto() {
		s.cloneInto(attr.Sys)
	}
	_, err = syscall.ForkExec(path, []string{"stage"}, attr)
	runtime.KeepAlive(s)
	if err != nil {
		return nil, fmt.Errorf("running the stage: %w", err)
	}
	stage := os.NewFile(uintptr(fd), "stage")
	defer stage.Close()
	st, err := pidfd.Wait(stage)
	if err != nil {
		return nil, fmt.Errorf("running the stage: %w", err)
	}
	if st.Signal != 0 || st.Code >= len(stageSteps) {
		return nil, fmt.Errorf("running the stage: it ended with code %d, signal %d", st.Code, int(st.Signal))
	}
	if st.Code == stageOffsets { // seconds that would lead before the boot, or too far away
		return nil, fmt.Errorf("linux.timeOffsets: cloning init: %s was refused", stageSteps[st.Code])
	}
	if st.Code != 0 {
		return nil, fmt.Errorf("cloning init: %s was refused", stageSteps[st.Code])
	}
	var buf [8]byte
	if _, err := r.Read(buf[:]); err != nil {
		return nil, fmt.Errorf("reading init's pid: %w", err)
	}
	c, err := adopt(int(binary.NativeEndian.Uint64(buf[:])))
	if err == nil {
		c.placed, c.entrance = s.places(), len(s.tasks) > 0
	}
	return c, err
}

// adopt opens a child that nobody but us reaps.
func adopt(pid int) (*child, error) {
	f, err := pidfd.Open(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("opening init: %w", err)
	}
	return &child{pid: pid, pidfd: f}, nil
}
