package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// openStreams makes the container's standard files and begins to read its
// output. It returns the container's ends, for the caller to close.
//
// The pipes have names. The container's ends of the outputs are open for
// reading as well: when the supervisor is killed, writing does not fail
// (EPIPE), it waits, and the next supervisor opens the same pipes again and
// goes on where the log ended.
func (e *entry) openStreams(s *server, m *createMessage, spec *specs.Spec) (files [3]*os.File, err error) {
	if err := s.openLog(e); err != nil {
		return files, err
	}
	if e.rec.Terminal {
		return files, nil
	}
	dir := s.records.pipes(m.ID)
	err = os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) { // of one with this name that was half made
		_ = os.RemoveAll(dir)
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return files, fmt.Errorf("making pipes: %w", err)
	}
	owner := hostUser(spec)
	if m.Stdin {
		if files[0], e.stdin, err = inputPipe(filepath.Join(dir, "stdin"), owner); err != nil {
			return files, err
		}
	}
	if m.Log.Path == "" && m.Labels[LabelQuiet] != "" {
		return files, nil
	}
	for i, stream := range []string{"stdout", "stderr"} {
		path := filepath.Join(dir, stream)
		if err := makePipe(path, owner); err != nil {
			return files, err
		}
		o, err := s.openOutput(e, path, stream)
		if err != nil {
			return files, err
		}
		if stream == "stdout" {
			e.stdout = o
		} else {
			e.stderr = o
		}
		if files[i+1], err = openBlocking(path, unix.O_RDWR); err != nil {
			return files, fmt.Errorf("opening a pipe: %w", err)
		}
		if err := o.begin(); err != nil {
			return files, err
		}
	}
	return files, nil
}

// LabelQuiet is a label that, set on a container without a log, gives it /dev/null in place of pipes.
const LabelQuiet = "skiff.dev/quiet"

type owner struct{ UID, GID int }

// hostUser is the user of the container's process as the host sees it. The
// pipes belong to it, so that opening /dev/stdout works.
func hostUser(spec *specs.Spec) owner {
	o := owner{int(spec.Process.User.UID), int(spec.Process.User.GID)}
	if spec.Linux != nil {
		o.UID = mapID(o.UID, spec.Linux.UIDMappings)
		o.GID = mapID(o.GID, spec.Linux.GIDMappings)
	}
	return o
}

func mapID(id int, mappings []specs.LinuxIDMapping) int {
	for _, m := range mappings {
		if in := int(m.ContainerID); id >= in && id < in+int(m.Size) {
			return int(m.HostID) + id - in
		}
	}
	return id
}

func makePipe(path string, who owner) error {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return fmt.Errorf("making pipe %q: %w", path, err)
	}
	if err := os.Lchown(path, who.UID, who.GID); err != nil {
		return fmt.Errorf("giving pipe %q to its user: %w", path, err)
	}
	return nil
}

// inputPipe makes a container's standard input and returns both ends.
func inputPipe(path string, who owner) (read, write *os.File, err error) {
	if err := makePipe(path, who); err != nil {
		return nil, nil, err
	}
	// Opening the end of a named pipe waits for the other end; one that is open
	// for both does not.
	both, err := openBlocking(path, unix.O_RDWR)
	if err != nil {
		return nil, nil, fmt.Errorf("opening a pipe: %w", err)
	}
	defer both.Close()
	read, rerr := openBlocking(path, unix.O_RDONLY)
	write, werr := openBlocking(path, unix.O_WRONLY)
	if err := errors.Join(rerr, werr); err != nil {
		closeFiles([]*os.File{read, write})
		return nil, nil, fmt.Errorf("opening a pipe: %w", err)
	}
	return read, write, nil
}

// openBlocking opens without handing the file to the poller of the Go runtime,
// which would make it non-blocking for the container, too.
func openBlocking(path string, flags int) (*os.File, error) {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// openOutput opens the reading end of a pipe; begin starts reading.
func (s *server) openOutput(e *entry, path, stream string) (*output, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("opening pipe %q: %w", path, err)
	}
	return &output{all: s.outs, fd: fd, stream: stream, name: e.rec.ID + "/" + stream, log: e.log}, nil
}

// takeConsole makes a terminal's master the container's output.
func (e *entry) takeConsole(s *server, console *os.File) error {
	if console == nil {
		return nil
	}
	var dup int
	var derr error
	raw, err := console.SyscallConn()
	if err != nil {
		return err
	}
	if err := raw.Control(func(fd uintptr) { dup, derr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return err
	}
	if derr != nil {
		return fmt.Errorf("keeping the terminal: %w", derr)
	}
	if err := unix.SetNonblock(dup, true); err != nil {
		unix.Close(dup)
		return fmt.Errorf("keeping the terminal: %w", err)
	}
	e.console = console
	e.stdout = &output{all: s.outs, fd: dup, stream: "stdout", log: e.log}
	return e.stdout.begin()
}

func fileOf(fd int, name string) *os.File { return os.NewFile(uintptr(fd), name) }

// openLog opens the log of a new container. One that finds no room on its disk is tried again with each line.
func (s *server) openLog(e *entry) error {
	s.watchLog(e)
	if e.log.opts.Path == "" {
		return nil
	}
	result := make(chan error, 1)
	if err := s.outs.writers.within(e.log, func(*writer) { result <- e.log.open() }); err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	err := <-result
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		e.log.failed(err)
		return nil
	}
	return err
}

// watchLog gives the entry its log, which warns when output cannot be written.
func (s *server) watchLog(e *entry) {
	id := e.rec.ID
	e.log = newLog(e.rec.Log)
	e.log.failed = func(err error) {
		s.log.Warn("output of a container is not logged; it is counted and dropped", "container", id, "err", err)
	}
}
