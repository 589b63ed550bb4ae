package supervisor

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/oci"
)

// Exit codes of the role.
const (
	exitFailure = 1
	exitUsage   = 2
	// exitAnother says that another supervisor holds the directory.
	exitAnother = 3
)

// outliveTerminals keeps the signals of a terminal that goes away from ending
// the supervisor. They are caught, not ignored: an ignored signal stays ignored
// across execve (signal(7)), in every container as well, where ^C would then
// interrupt nothing.
func outliveTerminals() {
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGPIPE)
}

// Main is the supervisor role of the skiff-oci program; args follow the word
// "supervisor". It returns the exit code.
//
//	skiff-oci supervisor --socket PATH --dir DIR [--cgroup PATH] [--ready-fd N] [--resume-fd N]
//
// It writes one byte to the ready descriptor when it listens, and its own log
// to standard error.
func Main(args []string) int {
	// A supervisor with a hundred containers holds little live memory and makes
	// little garbage: collecting early keeps it small and costs nothing.
	debug.SetGCPercent(25)
	outliveTerminals()
	flags := flag.NewFlagSet("supervisor", flag.ContinueOnError)
	socket := flags.String("socket", "", "address to listen on")
	dir := flags.String("dir", "", "directory of the records")
	ready := flags.Int("ready-fd", -1, "descriptor that gets a byte when the socket listens")
	group := flags.String("cgroup", "", "cgroup to move into")
	resume := flags.Int("resume-fd", -1, "descriptor with the state of the predecessor")
	if err := flags.Parse(args); err != nil {
		return exitUsage
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if *socket == "" || *dir == "" {
		log.Error("supervisor needs --socket and --dir")
		return exitUsage
	}
	if *group != "" {
		// It can do its work wherever it is.
		if err := moveInto(*group, os.Getpid()); err != nil {
			log.Warn("supervisor stays in the cgroup of who started it", "err", err)
		}
	}
	s, err := newServer(*socket, *dir, log)
	if err == nil {
		err = s.begin(*resume)
	}
	if errors.Is(err, errAnother) {
		return exitAnother
	}
	if err != nil {
		log.Error("supervisor cannot start", "err", err)
		return exitFailure
	}
	tellReady(*ready)
	if err := s.serve(); err != nil {
		log.Error("supervisor ends", "err", err)
		return exitFailure
	}
	return 0
}

// moveInto puts a process into a cgroup, which is made where it is missing.
func moveInto(path string, pid int) error {
	group, err := cgroup.New(path)
	if err != nil {
		return err
	}
	if err := group.Create(); err != nil {
		return err
	}
	return group.Add(pid, nil)
}

func tellReady(fd int) {
	if fd < 0 {
		return
	}
	f := os.NewFile(uintptr(fd), "ready")
	_, _ = f.Write([]byte{1})
	f.Close()
}

var errAnother = errors.New("another supervisor is running")

// lockDir makes sure that there is one supervisor per directory. The lock ends
// with the process, and passes on to a successor in place.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the supervisor's directory: %w", err)
	}
	f, err := os.OpenFile(dir+"/lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the supervisor's lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, errAnother
	}
	return f, nil
}

// sealedSelf opens this program as a sealed memfd, from which inits are
// executed: no container can write to it (CVE-2019-5736).
func sealedSelf() (*os.File, error) {
	f, err := oci.SealedSelf()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// Init is executed from /proc/self/fd/N after its own descriptors were put
	// at 0, 1, 2...: N must be out of their way.
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, exeFD)
	if err != nil {
		return nil, fmt.Errorf("moving the descriptor of the own program: %w", err)
	}
	return os.NewFile(uintptr(fd), "skiff-oci"), nil
}

// exeFD is the least number of the own program's descriptor.
const exeFD = 500
