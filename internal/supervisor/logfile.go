package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/rootfd"
)

// maxLogLine is where a longer line is cut into partial entries, as containerd does.
const maxLogLine = 16 << 10

// logWrite is how much is written at once: short lines are a fraction of their entries, and the buffer stays small.
const logWrite = 32 << 10

// logFile writes a container's output in the CRI's log format:
//
//	2026-01-02T15:04:05.123456789Z stdout F a whole line
//	2026-01-02T15:04:05.123456789Z stdout P the beginning of one
//
// Output without a newline is written at once as a partial entry: nothing is
// held back, so nothing is lost with the process, and a reader who follows
// sees a prompt when it is written. It is used by one goroutine at a time.
type logFile struct {
	opts LogOptions
	f    *os.File
	size int64
	// rotateAt, if larger than the size to rotate at, is the size for the next try after one that failed.
	rotateAt int64
	// partial tells that the last entry of either stream was a P entry, torn that something was lost behind it.
	partial, torn map[string]bool
	// lost counts bytes of output that could not be written.
	lost int64
	// failed, if set, hears of the first loss of a row.
	failed  func(error)
	failing bool

	// jobs wait for their turn, active says that there are any, stuck that somebody gave up waiting for them; all three
	// belong to writers.
	jobs   []func(*writer)
	active bool
	stuck  bool
}

// newLog returns a log that is opened when something is written.
func newLog(opts LogOptions) *logFile {
	return &logFile{opts: opts, partial: map[string]bool{}, torn: map[string]bool{}}
}

// open opens or makes the file, appending to what is there.
func (l *logFile) open() error {
	dir, name := l.place()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the log's directory: %w", err)
	}
	// Whoever can write to the log directory must not be able to aim the log at
	// another file.
	f, err := rootfd.AppendRegular(dir, name, 0o640)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("opening the log: %w", err)
	}
	if l.f != nil {
		l.f.Close()
	}
	l.f, l.size, l.rotateAt = f, info.Size(), 0
	return nil
}

// place is the log's path in two: what is trusted, and below it where no link is followed.
func (l *logFile) place() (dir, name string) {
	if name, err := filepath.Rel(l.opts.Dir, l.opts.Path); err == nil && l.opts.Dir != "" && filepath.IsLocal(name) {
		return l.opts.Dir, name
	}
	return filepath.Dir(l.opts.Path), filepath.Base(l.opts.Path)
}

// inode tells the file from one that takes its name later.
func (l *logFile) inode() uint64 {
	var st unix.Stat_t
	if l.f == nil || unix.Fstat(int(l.f.Fd()), &st) != nil {
		return 0
	}
	return st.Ino
}

// cut takes away what was written behind size to the file that was the log when inode was read; it may have another name
// now. It reports whether it is still there.
func (l *logFile) cut(inode uint64, size int64) (found bool, err error) {
	place, name := l.place()
	dir, base, err := rootfd.Parent(place, name, false)
	if err != nil {
		return false, fmt.Errorf("cutting the log: %w", err)
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return false, fmt.Errorf("cutting the log: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), base) || !e.Type().IsRegular() {
			continue
		}
		var st unix.Stat_t
		if unix.Fstatat(int(dir.Fd()), e.Name(), &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Ino != inode {
			continue
		}
		if err := cutFile(dir, e.Name(), inode, size); err != nil {
			return true, fmt.Errorf("cutting the log: %w", err)
		}
		if l.f != nil && l.inode() == inode {
			l.size = min(l.size, size)
		}
		return true, nil
	}
	return false, nil
}

func cutFile(dir *os.File, name string, inode uint64, size int64) error {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Ino != inode || st.Size <= size {
		return err
	}
	return unix.Ftruncate(fd, size)
}

func (l *logFile) close() {
	if l.f != nil {
		l.f.Close()
		l.f = nil
	}
}

// reopen starts writing to the log's path again, after somebody renamed the file.
func (l *logFile) reopen() error {
	if l.opts.Path == "" {
		return nil
	}
	return l.open()
}

// write appends data of a stream ("stdout", "stderr"), using scratch as buffer,
// and returns the buffer for its next use. It never fails: what cannot be
// written is counted.
func (l *logFile) write(stream string, data []byte, now time.Time, scratch []byte) []byte {
	if l.opts.Path == "" {
		return scratch
	}
	buf := scratch[:0]
	var stamp [64]byte
	head := append(now.UTC().AppendFormat(stamp[:0], time.RFC3339Nano), ' ')
	head = append(append(head, stream...), ' ')
	begun := data // of what is in buf
	tag := byte('F')
	flush := func(rest []byte) {
		written := l.append(buf, len(begun)-len(rest))
		if written {
			l.partial[stream] = tag == 'P'
		}
		l.torn[stream] = !written
		buf, begun = buf[:0], rest
	}
	for rest := data; len(rest) > 0; {
		if len(buf) >= logWrite {
			flush(rest)
		}
		if len(buf) == 0 && l.torn[stream] && l.partial[stream] { // else what comes would be read as the rest of that line
			buf = appendEntry(buf, head, 'F', nil)
		}
		line := rest
		tag = 'P'
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			line, rest, tag = rest[:i], rest[i+1:], 'F'
		} else {
			rest = nil
		}
		for len(line) > maxLogLine {
			buf = appendEntry(buf, head, 'P', line[:maxLogLine])
			line = line[maxLogLine:]
		}
		buf = appendEntry(buf, head, tag, line)
	}
	flush(nil)
	l.rotateIfLarge(now)
	return buf
}

// ready opens the file if it is not.
func (l *logFile) ready() error {
	if l.f != nil || l.opts.Path == "" {
		return nil
	}
	return l.open()
}

func appendEntry(buf, head []byte, tag byte, line []byte) []byte {
	buf = append(buf, head...)
	buf = append(buf, tag, ' ')
	buf = append(buf, line...)
	return append(buf, '\n')
}

// append writes whole entries or none, so that a disk that fills up in the
// middle leaves no torn entry. It reports whether it did.
func (l *logFile) append(buf []byte, bytes int) bool {
	if err := l.ready(); err != nil {
		l.lose(bytes, err)
		return false
	}
	n, err := l.f.Write(buf)
	if err == nil {
		l.size += int64(n)
		l.failing = false
		return true
	}
	l.lose(bytes, err)
	if n > 0 {
		if err := l.f.Truncate(l.size); err != nil {
			l.size += int64(n)
		}
	}
	return false
}

func (l *logFile) lose(bytes int, cause error) {
	l.lost += int64(bytes)
	if !l.failing && l.failed != nil {
		l.failed(cause)
	}
	l.failing = true
}

// rotateIfLarge renames a full log and starts a new one, at the end of a line
// of each stream so that no line spans two files; but output that never ends a
// line must not fill the disk, so twice the size is the end in any case.
func (l *logFile) rotateIfLarge(now time.Time) {
	midLine := l.partial["stdout"] || l.partial["stderr"]
	if l.opts.MaxSize <= 0 || l.size < max(l.opts.MaxSize, l.rotateAt) || midLine && l.size < 2*l.opts.MaxSize {
		return
	}
	place, name := l.place()
	dir, name, err := rootfd.Parent(place, name, false)
	if err == nil {
		defer dir.Close()
		old := name + "." + now.UTC().Format("20060102-150405.000000000")
		err = os.NewSyscallError("renameat", unix.Renameat(int(dir.Fd()), name, int(dir.Fd()), old))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.rotateAt = l.size + l.opts.MaxSize // not with each line
		return
	}
	if err := l.open(); err != nil {
		// Go on with the old file under its new name rather than lose lines.
		return
	}
	if dir != nil {
		l.prune(dir, name)
	}
}

// prune removes the oldest rotated files beyond MaxFiles.
func (l *logFile) prune(dir *os.File, base string) {
	if l.opts.MaxFiles <= 0 {
		return
	}
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return
	}
	var old []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), base+".") && e.Type().IsRegular() {
			old = append(old, e.Name())
		}
	}
	slices.Sort(old)
	for len(old) > l.opts.MaxFiles-1 {
		_ = unix.Unlinkat(int(dir.Fd()), old[0], 0)
		old = old[1:]
	}
}
