package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// Renew replaces the supervisor that answers by the caller's own program, if it runs another one: that is how a new
// skiff brings a new supervisor, under which all containers run on. It reports whether it did. One that was started by
// another skiff is also moved into this one's cgroup: it may be in one that somebody ends or limits.
func (c *Client) Renew(ctx context.Context) (bool, error) {
	if c.launched {
		return false, nil
	}
	info, err := c.Info(ctx)
	if err != nil {
		return false, err
	}
	if c.opts.Cgroup != "" {
		if err := moveInto(c.opts.Cgroup, info.PID); err != nil {
			return false, fmt.Errorf("moving the supervisor into its cgroup: %w", err)
		}
	}
	own, err := c.opts.Exe()
	if err != nil {
		return false, fmt.Errorf("opening the supervisor's program: %w", err)
	}
	defer own.Close()
	running, err := os.Open(fmt.Sprintf("/proc/%d/exe", info.PID))
	if err != nil {
		return false, fmt.Errorf("opening the program that runs as supervisor: %w", err)
	}
	defer running.Close()
	equal, err := sameContent(own, running)
	if err != nil || equal {
		return false, err
	}
	if err := c.Upgrade(ctx, own); err != nil {
		return false, fmt.Errorf("replacing the supervisor by this skiff's: %w", err)
	}
	return true, nil
}

// sameContent compares two regular files, wherever they were read up to.
func sameContent(x, y *os.File) (bool, error) {
	a, b := make([]byte, 256<<10), make([]byte, 256<<10)
	for off := int64(0); ; off += int64(len(a)) {
		n, aerr := x.ReadAt(a, off)
		m, berr := y.ReadAt(b, off)
		for _, err := range []error{aerr, berr} {
			if err != nil && !errors.Is(err, io.EOF) {
				return false, fmt.Errorf("comparing programs: %w", err)
			}
		}
		if n != m || !bytes.Equal(a[:n], b[:m]) {
			return false, nil
		}
		if aerr != nil || berr != nil {
			return true, nil // both: the lengths are equal
		}
	}
}
