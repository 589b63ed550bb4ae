package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"skiff.dev/skiff/internal/config"
)

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
