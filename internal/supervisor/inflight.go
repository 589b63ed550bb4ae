package supervisor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What is read from a pipe and not yet in the log dies with the supervisor. So a chunk is copied out of the pipe
// (tee(2)), written to the log, and only then taken out of the pipe. A page that outlives the process, one per writer, says
// how far that went for the one chunk that is on its way, so that the next supervisor neither loses nor doubles it:
//
//	state      the page says                        the next supervisor
//	none       nothing is on its way                reads on
//	writing    log file and its size before         cuts that file back to that size, reads on
//	written    length and checksum of the chunk     takes the chunk out of the pipe, if it is still its beginning
//
// Only output that repeats itself chunk by chunk can be mistaken in the last row, and only if the supervisor is killed
// in the instant between the end of the call that takes the chunk out and the next instruction.
type inflight struct {
	path    string
	page    []byte
	teeR    int // of a pipe that gets the copies
	teeW    int
	discard int // /dev/null
}

// Layout of the page; numbers are native, all processes that read it run on one machine and boot.
const (
	pageBytes   = 4096
	atState     = 0  // uint32
	atLength    = 4  // uint32
	atChecksum  = 8  // uint32
	atInode     = 16 // uint64
	atSize      = 24 // uint64
	atStreamLen = 32 // uint32, then the name of the output
	atStream    = 36
)

const (
	stateNone uint32 = iota
	stateWriting
	stateWritten
)

// castagnoli is made when the first chunk is checked: a container's init, the
// same program, would pay for it at each start.
var castagnoli = sync.OnceValue(func() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) })

// inflightName begins the names of the pages.
const inflightName = "inflight"

// openInflight makes a page in dir, which must lie on a file system that a reboot empties. Those of supervisors that were
// killed are left alone.
func openInflight(dir string) (*inflight, error) {
	for n := 0; ; n++ {
		path := filepath.Join(dir, inflightName)
		if n > 0 {
			path += "." + strconv.Itoa(n)
		}
		f, err := mapInflight(path, os.O_CREATE|os.O_EXCL)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
}

func mapInflight(path string, flags int) (_ *inflight, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|flags, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	f := &inflight{path: path, teeR: -1, teeW: -1, discard: -1}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	// Reserved now: a page that cannot be had later would end the process with SIGBUS.
	if err := unix.Fallocate(int(file.Fd()), 0, 0, pageBytes); err != nil {
		return nil, &os.PathError{Op: "fallocate", Path: path, Err: err}
	}
	if f.page, err = unix.Mmap(int(file.Fd()), 0, pageBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	f.teeR, f.teeW = p[0], p[1]
	if f.discard, err = unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/null", Err: err}
	}
	return f, nil
}

// close removes the page.
func (f *inflight) close() {
	for _, fd := range []int{f.teeR, f.teeW, f.discard} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	if f.page != nil {
		_ = unix.Munmap(f.page)
		f.page = nil
	}
	_ = os.Remove(f.path)
}

// leftInflight returns the pages of a predecessor with a chunk on its way, by the id of its container, and removes all
// others.
func leftInflight(dir string) (map[string]*inflight, error) {
	paths, err := filepath.Glob(filepath.Join(dir, inflightName+"*"))
	if err != nil {
		return nil, err
	}
	left := map[string]*inflight{}
	for _, path := range paths {
		f, err := mapInflight(path, 0)
		if err != nil {
			return left, fmt.Errorf("reading what was on its way to a log: %w", err)
		}
		if id, _ := f.owner(); id != "" {
			left[id] = f
			continue
		}
		f.close()
	}
	return left, nil
}

func (f *inflight) state() *uint32 { return (*uint32)(unsafe.Pointer(&f.page[atState])) }

// peek copies the beginning of a pipe into buf and leaves it there. 0 without an error is the end of the file.
func (f *inflight) peek(fd int, buf []byte) (int, error) {
	n, err := unix.Tee(fd, f.teeW, len(buf), unix.SPLICE_F_NONBLOCK)
	if n <= 0 || err != nil {
		return 0, err
	}
	for got := 0; got < int(n); {
		m, err := unix.Read(f.teeR, buf[got:n])
		if err != nil && err != unix.EINTR {
			return 0, os.NewSyscallError("read", err) // cannot be: the bytes are there
		}
		got += max(m, 0)
	}
	return int(n), nil
}

// writing says that the chunk goes to the log now; name is the output's.
func (f *inflight) writing(name string, chunk []byte, inode uint64, size int64) {
	order := binary.NativeEndian
	order.PutUint32(f.page[atLength:], uint32(len(chunk)))
	order.PutUint32(f.page[atChecksum:], crc32.Checksum(chunk, castagnoli()))
	order.PutUint64(f.page[atInode:], inode)
	order.PutUint64(f.page[atSize:], uint64(size))
	n := copy(f.page[atStream:], name)
	order.PutUint32(f.page[atStreamLen:], uint32(n))
	atomic.StoreUint32(f.state(), stateWriting)
}

// take removes the chunk, which the log has, from the pipe. What is not there any more has been read by the container
// itself, which has both ends.
func (f *inflight) take(fd, n int) error {
	atomic.StoreUint32(f.state(), stateWritten)
	defer f.forget()
	for n > 0 {
		m, err := unix.Splice(fd, nil, f.discard, nil, n, unix.SPLICE_F_NONBLOCK)
		if err == unix.EINTR {
			continue
		}
		if err != nil || m <= 0 {
			return fmt.Errorf("taking %d bytes out of a pipe: splice: %w", n, err)
		}
		n -= int(m)
	}
	return nil
}

// owner is the container and the stream of the chunk that was on its way; empty if none was.
func (f *inflight) owner() (id, stream string) {
	if atomic.LoadUint32(f.state()) == stateNone {
		return "", ""
	}
	n := min(int(binary.NativeEndian.Uint32(f.page[atStreamLen:])), pageBytes-atStream)
	id, stream, _ = strings.Cut(string(f.page[atStream:atStream+n]), "/")
	return id, stream
}

// forget says that nothing is on its way.
func (f *inflight) forget() { atomic.StoreUint32(f.state(), stateNone) }

// settle finishes with the owner's pipe and log what a supervisor that was killed had begun.
func (f *inflight) settle(fd int, log *logFile) error {
	order := binary.NativeEndian
	if atomic.LoadUint32(f.state()) == stateWriting {
		found, err := true, error(nil)
		if log.opts.Path != "" {
			found, err = log.cut(order.Uint64(f.page[atInode:]), int64(order.Uint64(f.page[atSize:])))
		}
		if found || err != nil {
			f.forget()
			return err
		}
	}
	// The log has the chunk; one that was removed meanwhile was written to its end.
	n := min(int(order.Uint32(f.page[atLength:])), chunk)
	buf := make([]byte, n)
	got, err := f.peek(fd, buf)
	if err == nil && got == n && crc32.Checksum(buf, castagnoli()) == order.Uint32(f.page[atChecksum:]) {
		return f.take(fd, n)
	}
	f.forget()
	return nil
}
