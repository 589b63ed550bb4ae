package podnet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ipForward lets the node pass packets between its links. It is the one
// sysctl that skiff changes on a host.
const ipForward = "/proc/sys/net/ipv4/ip_forward"

// change is one sysctl in the ledger: its value before the first skiff changed
// it, and the skiffs that need the new one.
type change struct {
	Old   string   `json:"old"`
	Users []string `json:"users"`
}

// ledger is the file that all skiffs of the machine share. It is held locked
// between open and close.
type ledger struct {
	file    *os.File
	changes map[string]change
}

// openLedger locks the ledger, and makes it if it is not there. The file may
// be deleted by its last user between our open and lock: then try again.
func openLedger(path string) (*ledger, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, fmt.Errorf("opening ledger of host changes: %w", err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("locking ledger of host changes: flock: %w", err)
		}
		if !sameFile(f, path) {
			_ = f.Close()
			continue
		}
		l := &ledger{file: f, changes: map[string]change{}}
		b, err := os.ReadFile(path)
		if err == nil && len(b) > 0 {
			err = json.Unmarshal(b, &l.changes)
		}
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("reading ledger of host changes %s: %w", path, err)
		}
		return l, nil
	}
}

func sameFile(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Stat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// close writes the ledger, or removes it when nothing is in it, and unlocks.
func (l *ledger) close() error {
	defer func() { _ = l.file.Close() }()
	if len(l.changes) == 0 {
		if err := os.Remove(l.file.Name()); err != nil {
			return fmt.Errorf("removing ledger of host changes: %w", err)
		}
		return nil
	}
	b, err := json.Marshal(l.changes)
	if err != nil {
		return fmt.Errorf("encoding ledger of host changes: %w", err)
	}
	// In place: the lock is on this file. A write of a few bytes to a tmpfs
	// does not tear when the process is killed.
	if err := l.file.Truncate(0); err != nil {
		return fmt.Errorf("writing ledger of host changes: %w", err)
	}
	if _, err := l.file.WriteAt(b, 0); err != nil {
		return fmt.Errorf("writing ledger of host changes: %w", err)
	}
	return nil
}

// needSysctl sets a sysctl to a value for the skiff name, unless the host has
// it already without our doing.
func needSysctl(path, name, sysctl, value string) error {
	l, err := openLedger(path)
	if err != nil {
		return err
	}
	old, err := readSysctl(sysctl)
	if err != nil {
		return errors.Join(err, l.close())
	}
	c, ours := l.changes[sysctl]
	if old == value && !ours {
		return l.close()
	}
	if !ours {
		c.Old = old
	}
	if !slices.Contains(c.Users, name) {
		c.Users = append(c.Users, name)
	}
	l.changes[sysctl] = c
	// Written down first: a change that is not in the ledger cannot be undone.
	if err := l.close(); err != nil {
		return err
	}
	if old == value {
		return nil
	}
	return writeSysctl(sysctl, value)
}

// releaseSysctl takes the skiff out of the ledger; the last one restores.
func releaseSysctl(path, name, sysctl string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	l, err := openLedger(path)
	if err != nil {
		return err
	}
	c, ok := l.changes[sysctl]
	c.Users = slices.DeleteFunc(c.Users, func(u string) bool { return u == name })
	switch {
	case !ok:
	case len(c.Users) > 0:
		l.changes[sysctl] = c
	default:
		if err := writeSysctl(sysctl, c.Old); err != nil {
			return errors.Join(err, l.close())
		}
		delete(l.changes, sysctl)
	}
	return l.close()
}

func readSysctl(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading sysctl: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func writeSysctl(path, value string) error {
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("writing sysctl: %w", err)
	}
	return nil
}
