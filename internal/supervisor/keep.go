package supervisor

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/pidfd"
	"go.skiff.dev/skiff/internal/oci"
)

// A terminal ends when nobody has its master open any more, and who runs on it gets SIGHUP. So beside the supervisor a
// tiny process has it open, one per container with a terminal, until the container ends. When the supervisor is killed, the
// next one takes the master from there (pidfd_getfd(2), Linux 5.6).

// keepProgram is made once.
var keepProgram = sync.OnceValues(func() (*os.File, error) {
	return oci.Seal("terminal", bytes.NewReader(oci.KeepProgram()))
})

// keepConsole starts the process that keeps the terminal of a container. Without it the container runs as well.
func (s *server) keepConsole(e *entry) {
	if e.console == nil {
		return
	}
	process, err := e.forkKeeper()
	if err != nil {
		s.log.Warn("terminal would not outlive this supervisor", "container", e.rec.ID, "err", err)
		return
	}
	s.reapKeeper(process)
}

func (e *entry) forkKeeper() (*os.File, error) {
	program, err := keepProgram()
	if err != nil {
		return nil, err
	}
	// All of its files are put at their numbers, so that the program's has to be out of the way.
	exe, err := unix.FcntlInt(program.Fd(), unix.F_DUPFD_CLOEXEC, exeFD)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	defer unix.Close(exe)
	console, err := duplicate(e.console)
	if err != nil {
		return nil, err
	}
	defer console.Close()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	files := make([]uintptr, oci.KeepEnd+1)
	for fd := range files {
		files[fd] = null.Fd()
	}
	master, err := rawFD(console)
	if err != nil {
		return nil, err
	}
	files[oci.KeepFD], files[oci.KeepEnd] = master, e.pidfd.Fd()
	fd := -1
	pid, err := syscall.ForkExec(fmt.Sprintf("/proc/self/fd/%d", exe), []string{"terminal", e.rec.ID}, &syscall.ProcAttr{
		Dir: "/", Files: files, Sys: &syscall.SysProcAttr{Setsid: true, PidFD: &fd},
	})
	if err != nil {
		return nil, fmt.Errorf("starting the keeper of a terminal: %w", err)
	}
	process := os.NewFile(uintptr(fd), "keeper")
	e.rec.Keeper = pid
	if e.rec.KeeperStart, _, err = pidfd.StartTime(pid); err != nil {
		e.rec.Keeper = 0
	}
	return process, nil
}

// rawFD is the descriptor as it is; Fd of os.File would make it block, for all who have it open.
func rawFD(f *os.File) (number uintptr, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	return number, raw.Control(func(fd uintptr) { number = fd })
}

// reapKeeper waits for the keeper, which is a child, and owns its pidfd.
func (s *server) reapKeeper(process *os.File) {
	fd := int(process.Fd())
	collect := func(uint32) {
		s.exits.remove(fd)
		_, _ = pidfd.Wait(process)
		process.Close()
	}
	if err := s.exits.add(fd, unix.EPOLLIN, collect); err != nil {
		s.log.Warn("keeper of a terminal is not watched", "err", err)
		process.Close()
	}
}

// resumeKeeper goes on after an upgrade.
func (s *server) resumeKeeper(rec *record) {
	if rec.Keeper == 0 {
		return
	}
	if process, err := pidfd.Open(rec.Keeper, rec.KeeperStart); err == nil {
		s.reapKeeper(process)
	}
}

// recoverConsole takes the terminal of a container from its keeper.
func (s *server) recoverConsole(e *entry) error {
	if e.rec.Keeper == 0 {
		return fmt.Errorf("nobody has kept it")
	}
	process, err := pidfd.Open(e.rec.Keeper, e.rec.KeeperStart)
	if err != nil {
		return err
	}
	defer process.Close()
	fd, err := unix.PidfdGetfd(int(process.Fd()), oci.KeepFD, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_getfd", err)
	}
	unix.CloseOnExec(fd)
	return e.takeConsole(s, os.NewFile(uintptr(fd), "console"))
}
