package cgroup

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// OOMKills counts the processes in and below the cgroup that the kernel killed for want of memory.
func (m *Manager) OOMKills() (uint64, error) {
	dir, file := m.Dir("memory"), "memory.oom_control"
	if m.Layout.V2 {
		file = "memory.events"
	}
	if dir == "" {
		return 0, nil
	}
	t := table(dir, file)
	if t == nil {
		return 0, fmt.Errorf("reading %s: %w", filepath.Join(dir, file), os.ErrNotExist)
	}
	return t["oom_kill"], nil
}

// WatchOOM calls f, from one goroutine, with the count of kills each time it has grown, until ctx ends or the cgroup is
// removed. It returns when the watch is armed.
func (m *Manager) WatchOOM(ctx context.Context, f func(kills uint64)) error {
	ev, err := m.oomEvents()
	if err != nil {
		return fmt.Errorf("watching cgroup %q for lack of memory: %w", m.Path, err)
	}
	stop := context.AfterFunc(ctx, func() { ev.Close() })
	go func() {
		defer ev.Close()
		defer stop()
		buf := make([]byte, 4096)
		var seen uint64
		for {
			if _, err := ev.Read(buf); err != nil {
				return
			}
			n, err := m.killsAfter(seen)
			if n > seen {
				seen = n
				f(n)
			}
			if err != nil {
				return
			}
		}
	}()
	return nil
}

// killsAfter reads the counter until it has passed seen. Version 1 tells of the lack of memory a moment before the kill
// is counted, and of the cgroup's removal in the same way.
func (m *Manager) killsAfter(seen uint64) (n uint64, err error) {
	for range 20 {
		if n, err = m.OOMKills(); err != nil || n > seen || m.Layout.V2 {
			return n, err
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // the event came before what it tells of
	}
	return n, nil
}

// oomEvents is a file from which something can be read whenever the counter may have changed.
func (m *Manager) oomEvents() (*os.File, error) {
	if m.Layout.V2 {
		return inotify(filepath.Join(m.dirs[0], "memory.events"))
	}
	dir := m.Dir("memory")
	if dir == "" {
		return nil, fmt.Errorf("no memory controller is mounted")
	}
	ctl, err := os.Open(filepath.Join(dir, "memory.oom_control"))
	if err != nil {
		return nil, err
	}
	defer ctl.Close()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	f := os.NewFile(uintptr(fd), "oom")
	if err := write(dir, "cgroup.event_control", fmt.Sprintf("%d %d", fd, ctl.Fd())); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func inotify(path string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	f := os.NewFile(uintptr(fd), path)
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_MODIFY); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "inotify_add_watch", Path: path, Err: err}
	}
	return f, nil
}
