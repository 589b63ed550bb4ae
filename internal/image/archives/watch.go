package archives

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// wanted are the events of the directory after which to look: writing ended, a
// name came or went, and the end of the directory itself. IN_CREATE is for
// links, which nobody writes. fsnotify does not pass IN_CLOSE_WRITE on.
const wanted = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_CREATE | unix.IN_DELETE |
	unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

// watcher follows one directory (inotify, Linux 2.6.13). The zero value hears
// nothing.
type watcher struct {
	file *os.File
	// changed has at most one message waiting: whoever reads it looks at all.
	// It is closed when the directory is no longer what it was.
	changed chan struct{}
}

func watch(dir string) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	w := &watcher{file: os.NewFile(uintptr(fd), "inotify"), changed: make(chan struct{}, 1)}
	if _, err := unix.InotifyAddWatch(fd, dir, wanted); err != nil {
		w.close()
		return nil, os.NewSyscallError("inotify_add_watch", err)
	}
	go w.follow()
	return w, nil
}

// close ends follow, whose read the runtime's poller wakes.
func (w *watcher) close() {
	if w.file != nil {
		w.file.Close()
	}
}

func (w *watcher) follow() {
	defer close(w.changed)
	// Room for many events; each takes at most 16 bytes and a name.
	buf := make([]byte, 64*(unix.SizeofInotifyEvent+unix.NAME_MAX+1))
	for {
		n, err := w.file.Read(buf)
		if err != nil || endOf(buf[:n]) {
			return
		}
		select {
		case w.changed <- struct{}{}:
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

// hasWriter says whether somebody has the file open for writing: a read lease
// is refused then (fcntl F_SETLEASE, Linux 2.4). File systems without leases
// say no.
func hasWriter(f *os.File) bool {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	}
	return errors.Is(err, unix.EAGAIN)
}
