//go:build linux

// Package inotify tells when the files of one directory have come, changed or gone (inotify, Linux 2.6.13). fsnotify
// does not pass on IN_CLOSE_WRITE, the end of a copy, which is what who reads whole files waits for.
package inotify

import (
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// wanted are the events of the directory after which to look: writing ended, a
// name came or went, and the end of the directory itself. IN_CREATE is for
// links, which nobody writes.
const wanted = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_CREATE | unix.IN_DELETE |
	unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

// Watcher follows one directory. The zero value hears nothing.
type Watcher struct {
	file *os.File
	// Changed has at most one message waiting: whoever reads it looks at all.
	// It is closed when the directory is no longer what it was.
	Changed chan struct{}
}

// Watch begins to follow a directory.
func Watch(dir string) (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	w := &Watcher{file: os.NewFile(uintptr(fd), "inotify"), Changed: make(chan struct{}, 1)}
	if _, err := unix.InotifyAddWatch(fd, dir, wanted); err != nil {
		w.Close()
		return nil, os.NewSyscallError("inotify_add_watch", err)
	}
	go w.follow()
	return w, nil
}

// Close ends follow, whose read the runtime's poller wakes.
func (w *Watcher) Close() {
	if w.file != nil {
		w.file.Close()
	}
}

func (w *Watcher) follow() {
	defer close(w.Changed)
	// Room for many events; each takes at most 16 bytes and a name.
	buf := make([]byte, 64*(unix.SizeofInotifyEvent+unix.NAME_MAX+1))
	for {
		n, err := w.file.Read(buf)
		if err != nil || endOf(buf[:n]) {
			return
		}
		select {
		case w.Changed <- struct{}{}:
		default:
		}
	}
}

// endOf says whether one of the events tells that the directory is gone. An
// event is wd, mask, cookie and the length of the name, then the name.
func endOf(events []byte) bool {
	for len(events) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(events[4:])
		if mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_IGNORED) != 0 {
			return true
		}
		next := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		events = events[min(next, len(events)):]
	}
	return false
}
