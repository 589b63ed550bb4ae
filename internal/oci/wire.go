package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The talk between the parent and init, over a pair of SOCK_SEQPACKET sockets: one packet is one message, whose first
// byte says what it is.
//
//	parent                                        init
//	------                                        ----
//	clone(new namespaces), exec of this program   prctl(not dumpable), wait for the plan
//	makes the cgroups of version 1 and the plan   (Go's runtime starts)
//	files 'f' with up to 250 descriptors    --->  remembered in order: the plan names them by their places
//	plan in pieces 'p', last one 'q'        --->  decode, enter cgroups of version 1 (see entrance.go)
//	puts init into its cgroups, sets its
//	oom score, waits for no one
//	go 'g'                                  --->  enters the joined namespaces, makes the cgroup namespace,
//	                                              sets host name, root, mounts, devices
//	hands the pty master to its owner       <---  console 'c' with the descriptor   (with a terminal)
//	maps the mount's ids                    <---  mount 'm' index and descriptor    (for those of sources in the root)
//	go 'g'                                  --->
//	runs prestart and createRuntime hooks   <---  sync 's'                          (with such hooks)
//	go 'g'                                  --->  runs createContainer hooks, pivot_root, masks, sysctls
//	                                        <---  warning 'w' text                  (any number, any time)
//	hands over the seccomp listener         <---  listener 'l' with the descriptor  (with SCMP_ACT_NOTIFY)
//	state "created"                         <---  ready 'r'
//	                                              accept() on start.sock            (create without run)
//	connects to start.sock, or go 'g', or   --->  drops what is left, runs startContainer hooks, execve
//	nothing, when the plan says so                (then it has put its record in its place)
//	end of file: the program runs           <---  descriptor closes by close-on-exec
//	the error                               <---  error 'e' text, exit 1            (any time, on either socket;
//	                                              'x' when it is execve that fails)
//
// A closed socket before 'r' means that init died: the parent then reports the signal or exit code.
const (
	msgFiles    = 'f'
	msgPlan     = 'p'
	msgPlanEnd  = 'q'
	msgGo       = 'g'
	msgConsole  = 'c'
	msgSync     = 's'
	msgMap      = 'm'
	msgWarning  = 'w'
	msgListener = 'l'
	msgReady    = 'r'
	msgError    = 'e'
	msgExecve   = 'x'
)

// packet is the largest piece sent at once; the kernel's default send buffer holds several.
const packet = 32 << 10

// maxFiles is how many descriptors go with one message; the kernel takes 253 (SCM_MAX_FD).
const maxFiles = 250

// wire is the parent's end.
type wire struct{ f *os.File }

func newWire() (parent *wire, child *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	return &wire{os.NewFile(uintptr(fds[0]), "init")}, os.NewFile(uintptr(fds[1]), "parent"), nil
}

// watch makes the end of ctx break off every read and write.
func (w *wire) watch(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = w.f.SetDeadline(time.Unix(1, 0)) })
}

func (w *wire) send(kind byte, body []byte) error {
	_, err := w.f.Write(append([]byte{kind}, body...))
	return err
}

// lost tells whether an error says that the other end is gone: it may have left messages unread, or not.
func lost(err error) bool { return errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) }

func (w *wire) sendFiles(files []*os.File) error {
	raw, err := w.f.SyscallConn()
	if err != nil {
		return err
	}
	for some := range slices.Chunk(files, maxFiles) {
		fds := make([]int, len(some))
		for i, f := range some {
			fds[i] = int(f.Fd())
		}
		werr := raw.Write(func(to uintptr) bool {
			err = unix.Sendmsg(int(to), []byte{msgFiles}, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
			return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
		})
		if err = errors.Join(werr, os.NewSyscallError("sendmsg", err)); err != nil {
			return err
		}
	}
	return nil
}

func (w *wire) sendPlan(b []byte) error {
	for len(b) > packet {
		if err := w.send(msgPlan, b[:packet]); err != nil {
			return err
		}
		b = b[packet:]
	}
	return w.send(msgPlanEnd, b)
}

// receive reads one message and the descriptor that came with it, or nil.
func (w *wire) receive() (kind byte, body []byte, file *os.File, err error) {
	raw, err := w.f.SyscallConn()
	if err != nil {
		return 0, nil, nil, err
	}
	var buf []byte
	oob := make([]byte, unix.CmsgSpace(4))
	var n, on int
	rerr := raw.Read(func(fd uintptr) bool {
		// Asked first how long it is: a packet may be long, and most are a byte.
		if n, _, err = unix.Recvfrom(int(fd), nil, unix.MSG_PEEK|unix.MSG_TRUNC); err == nil && n > 0 {
			buf = make([]byte, n)
			n, on, _, _, err = unix.Recvmsg(int(fd), buf, oob, unix.MSG_CMSG_CLOEXEC)
		}
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	if err = errors.Join(rerr, err); err != nil {
		return 0, nil, nil, err
	}
	if n == 0 {
		return 0, nil, nil, io.EOF
	}
	if fd := rights(oob[:on]); fd >= 0 {
		file = os.NewFile(uintptr(fd), "received")
	}
	return buf[0], buf[1:n], file, nil
}

// rights takes the first descriptor out of a control message.
func rights(oob []byte) int {
	ms, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(ms) == 0 {
		return -1
	}
	fds, err := unix.ParseUnixRights(&ms[0])
	if err != nil || len(fds) == 0 {
		return -1
	}
	for _, fd := range fds[1:] {
		unix.Close(fd)
	}
	return fds[0]
}

// childWire is init's end: a bare descriptor, blocking, on one thread.
type childWire int

func (w childWire) send(kind byte, body string, fd int) error {
	var oob []byte
	if fd >= 0 {
		oob = unix.UnixRights(fd)
	}
	return unix.Sendmsg(int(w), append([]byte{kind}, body...), oob, nil, unix.MSG_NOSIGNAL)
}

// receive waits for the parent, which is about to answer. Go's scheduler is not told of the wait: it would start another
// thread to run goroutines meanwhile, of which init has none.
func (w childWire) receive(buf, oob []byte) (kind byte, body, control []byte, err error) {
	iov := unix.Iovec{Base: &buf[0]}
	iov.SetLen(len(buf))
	msg := unix.Msghdr{Iov: &iov, Iovlen: 1}
	if len(oob) > 0 {
		msg.Control = &oob[0]
		msg.SetControllen(len(oob))
	}
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(w), uintptr(unsafe.Pointer(&msg)), unix.MSG_CMSG_CLOEXEC)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, nil, nil, os.NewSyscallError("recvmsg", errno)
		}
		if n == 0 {
			return 0, nil, nil, io.EOF
		}
		if msg.Flags&unix.MSG_CTRUNC != 0 { // those after it would be taken for others
			return 0, nil, nil, errors.New("a descriptor was not let through")
		}
		return buf[0], buf[1:n], oob[:msg.Controllen], nil
	}
}

func (w childWire) plan() (*plan, error) {
	buf, oob := make([]byte, packet+1), make([]byte, unix.CmsgSpace(4*maxFiles))
	var all []byte
	var files []int
	for {
		kind, body, control, err := w.receive(buf, oob)
		if err == nil && kind == msgFiles {
			files, err = received(files, control)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the plan: %w", err)
		}
		all = append(all, body...)
		if kind == msgPlanEnd {
			break
		}
	}
	p := new(plan)
	c := &coder{b: all, read: true, born: int(w) + 1, files: files}
	p.code(c)
	return p, c.err
}

// received adds the descriptors that came with a message. Their numbers are any: Go's runtime may have some of its own, and
// needs them (it polls standard files that do not block), and a caller may have leaked others.
func received(files []int, control []byte) ([]int, error) {
	ms, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(ms) == 0 {
		return nil, fmt.Errorf("no descriptors have come: %w", err)
	}
	fds, err := unix.ParseUnixRights(&ms[0])
	return append(files, fds...), err
}

// await blocks until the parent says go.
func (w childWire) await() error {
	buf := make([]byte, 16)
	kind, _, _, err := w.receive(buf, nil)
	if err != nil {
		return fmt.Errorf("waiting for the parent: %w", err)
	}
	if kind != msgGo {
		return fmt.Errorf("waiting for the parent: message %q", kind)
	}
	return nil
}
