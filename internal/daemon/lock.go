package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"go.skiff.dev/skiff/internal/config"
)

// lockMachine holds up other skiffs of this machine that start at the same time,
// until release: the range that one chooses is to be seen by the next. The lock
// is on a directory that is always there, so that it leaves no trace.
func lockMachine() (release func(), err error) {
	dir, err := os.Open("/run")
	if err != nil {
		return nil, fmt.Errorf("opening /run: %w", err)
	}
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("waiting for another skiff that starts: %w", err), dir.Close())
	}
	return sync.OnceFunc(func() { dir.Close() }), nil
}

// lock makes the run directory and takes the lock that lets one daemon of this
// name run at a time. The kernel releases it with the process.
func lock(cfg *config.Config) (func(), error) {
	if err := os.MkdirAll(cfg.RunDir, 0o700); err != nil {
		return nil, fmt.Errorf("making the run directory: %w", err)
	}
	name := filepath.Join(cfg.RunDir, "skiff.lock")
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("another skiff holds %s: it is starting or stopping; see `skiff status`, or give this one a --name of its own", name)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() { file.Close() }, nil
}
