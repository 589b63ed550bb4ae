package container

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	remotecommandserver "k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// sink is a WriteCloser that keeps what it gets.
type sink struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *sink) Close() error { return nil }

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

func TestExecStreams(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", nil, "sleep", "1000")
	var out, errw sink
	err := n.s.Streaming().Exec(n.ctx(), id, []string{"sh", "-c", "cat; echo err >&2; exit 6"}, strings.NewReader("input\n"), &out, &errw, false, nil)
	if exit, ok := err.(interface{ ExitStatus() int }); !ok || exit.ExitStatus() != 6 {
		t.Errorf("error %v", err)
	}
	if out.String() != "input\n" || errw.String() != "err\n" {
		t.Errorf("%q %q", out.String(), errw.String())
	}
	sizes := make(chan remotecommandserver.TerminalSize, 1)
	sizes <- remotecommandserver.TerminalSize{Width: 100, Height: 40}
	var tty sink
	if err := n.s.Streaming().Exec(n.ctx(), id, []string{"sh", "-c", "stty size; echo $TERM"}, nil, &tty, nil, true, sizes); err != nil {
		t.Error(err)
	}
	if got := tty.String(); got != "40 100\r\nxterm\r\n" {
		t.Errorf("terminal showed %q", got)
	}
}

func TestAttachWithInputOnce(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", func(c *runtimeapi.ContainerConfig) { c.Stdin, c.StdinOnce = true, true }, "sh", "-c", "cat; echo end")
	var out, errw sink
	if err := n.s.Streaming().Attach(n.ctx(), id, strings.NewReader("piped\n"), &out, &errw, false, nil); err != nil {
		t.Fatal(err)
	}
	if out.String() != "piped\nend\n" {
		t.Errorf("output %q", out.String())
	}
	if st := n.wait(id); st.ExitCode != 0 {
		t.Errorf("status %v", st)
	}
}

func TestAttachToATerminal(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", func(c *runtimeapi.ContainerConfig) { c.Stdin, c.Tty = true, true }, "sh")
	in, keys := io.Pipe()
	var out sink
	sizes := make(chan remotecommandserver.TerminalSize, 1)
	sizes <- remotecommandserver.TerminalSize{Width: 77, Height: 22}
	done := make(chan error, 1)
	go func() { done <- n.s.Streaming().Attach(n.ctx(), id, in, &out, nil, true, sizes) }()
	_, _ = keys.Write([]byte("until stty size | grep '22 77'; do true; done; echo seen-$((1+1)); exit 4\n"))
	if err := <-done; err != nil {
		t.Error(err)
	}
	keys.Close()
	if st := n.wait(id); st.ExitCode != 4 {
		t.Errorf("status %v", st)
	}
	if !strings.Contains(out.String(), "seen-2") || !strings.Contains(n.log(id), "seen-2") {
		t.Errorf("terminal %q, log %q", out.String(), n.log(id))
	}
}

type duplex struct {
	io.Reader
	io.Writer
}

func (duplex) Close() error { return nil }

// TestPortForwardToNobody asks for a port where nobody accepts: it waits, and no longer than the caller.
func TestPortForwardToNobody(t *testing.T) {
	n := newNode(t)
	box, _ := n.sandbox("pod", func(c *runtimeapi.PodSandboxConfig) {
		c.Linux.SecurityContext.NamespaceOptions.Network = runtimeapi.NamespaceMode_NODE
	})
	socket := func() int {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	lis := socket()
	if err := errors.Join(unix.Bind(lis, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(lis, 0)); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(lis)
	if err != nil {
		t.Fatal(err)
	}
	for range 8 { // more than a backlog of 0 takes
		if err := unix.Connect(socket(), at); err != nil && err != unix.EINPROGRESS {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(n.ctx())
	done := make(chan error, 1)
	go func() {
		done <- n.s.Streaming().PortForward(ctx, box, int32(at.(*unix.SockaddrInet4).Port), duplex{strings.NewReader(""), &sink{}})
	}()
	cancel()
	select {
	case err := <-done:
		if status.Code(err) != codes.Canceled {
			t.Errorf("%v", err)
		}
	case <-time.After(time.Minute):
		t.Error("it goes on waiting")
	}
}

func TestPortForward(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", nil, "sh", "-c", "nc -l -p 8080 -e sh -c 'read x; echo got $x' & until grep -q 1F90 /proc/net/tcp /proc/net/tcp6; do true; done; echo ready; wait")
	for end := time.Now().Add(time.Minute); !strings.Contains(n.log(id), "ready") && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // a log has no reader to wake
	}
	var out sink
	ctx, cancel := context.WithTimeout(n.ctx(), time.Minute)
	defer cancel()
	if err := n.s.Streaming().PortForward(ctx, box, 8080, duplex{strings.NewReader("ping\n"), &out}); err != nil {
		t.Fatal(err)
	}
	if out.String() != "got ping\n" {
		t.Errorf("answer %q", out.String())
	}
	if err := n.s.Streaming().PortForward(ctx, box, 8081, duplex{strings.NewReader(""), &out}); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("closed port: %v", err)
	}
}

// TestSocketsOfPods makes sockets in a pod's network: the first thread, whose network /proc/net shows, must stay in the
// node's.
func TestSocketsOfPods(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	pod := exec.Command("sleep", "1000")
	pod.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := pod.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pod.Process.Kill(); _ = pod.Wait() }()
	before, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	s, rec := &Service{}, &sandboxRecord{PID: pod.Process.Pid, Config: &runtimeapi.PodSandboxConfig{}}
	for range 100 {
		fd, err := s.socketIn(rec, unix.AF_INET)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
	}
	if now, err := os.Readlink("/proc/self/ns/net"); err != nil || now != before {
		t.Errorf("%s, before it was %s: %v", now, before, err)
	}
}
