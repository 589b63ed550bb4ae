package oci

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// On v1 the first move of another process into a cgroup waits for an RCU grace period, 5 to 15 ms: the kernel has to
// keep all processes from forking meanwhile (cgroup_threadgroup_rwsem). A thread that moves itself, by writing 0 to
// "tasks", needs no such wait (kernel/cgroup/cgroup.c, cgroup_procs_write_start). The caller must not, or its thread would
// share the container's limits and freezer. Init can, if it becomes the container's process at once (enterByTasks): only
// the thread that executes that has to be there. One that waits for its start would leave the other threads that a Go
// program has outside, for as long as it waits. There a small program runs between clone and init's exec: the entrance.
//
//	us                                   entrance, then init
//	clone(namespaces), exec entrance --> prctl(not dumpable)
//	                                     write("0") to each tasks file; any error ends it
//	sets limits, sends the plan          execveat(init): the Go runtime starts meanwhile

// entrance returns that program, and the descriptors it is born with: init's own, init's program, the tasks files.
func (s *spawn) entrance() (*os.File, []*os.File, error) {
	l := fileList{files: append([]*os.File{}, s.files...)}
	exe := l.add(s.exe, false)
	var tasks []int
	for _, f := range s.tasks {
		tasks = append(tasks, l.add(f, false))
	}
	prog, err := memfile("entrance", image(func(a *assembler) {
		a.call(unix.SYS_PRCTL, num(unix.PR_SET_DUMPABLE), num(0), num(0), num(0), num(0))
		enterCgroups(a, tasks)
		a.call(unix.SYS_CLOSE_RANGE, num(exe), num(1<<31-1), num(unix.CLOSE_RANGE_CLOEXEC))
		argv, envv := s.initArgs(a)
		a.call(unix.SYS_EXECVEAT, num(exe), a.cstring(""), argv, envv, num(unix.AT_EMPTY_PATH))
		a.call(unix.SYS_EXIT_GROUP, num(stageExec))
	}))
	return prog, l.list(), err
}

func enterCgroups(a *assembler, tasks []int) {
	for _, fd := range tasks {
		a.call(unix.SYS_WRITE, num(fd), a.cstring("0"), num(1))
		a.exitIfNegative(stageCgroup)
	}
}

// initArgs are argv and envp of init.
func (s *spawn) initArgs(a *assembler) (argv, envv operand) {
	argv = a.pointers(a.cstring("skiff-oci"), a.cstring("init"), a.cstring(strconv.Itoa(s.sock())))
	var env []operand
	for _, e := range initEnv() {
		env = append(env, a.cstring(e))
	}
	return argv, a.pointers(env...)
}
