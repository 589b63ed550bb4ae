package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/pidfd"
	"go.skiff.dev/skiff/internal/oci"
	"go.skiff.dev/skiff/internal/oci/defaults"
)

// Who listens on the pidfd socket gets a descriptor that stands for the process, with the word that runc sends.
func TestSendPidfd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pidfd.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := exec.Command("sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	start, _, err := pidfd.StartTime(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	f, err := pidfd.Open(cmd.Process.Pid, start)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := sendPidfd(path, "setns", &oci.Process{PID: cmd.Process.Pid, PIDFD: f}); err != nil {
		t.Fatal(err)
	}
	got, word := receive(t, l)
	defer got.Close()
	if word != "setns" {
		t.Errorf("the word is %q", word)
	}
	if err := pidfd.Signal(got, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("the process of the descriptor: %v", err)
	}
	if err := sendPidfd(path+".none", "setns", &oci.Process{PIDFD: f}); err == nil {
		t.Error("nobody listens, and no error")
	}
	if err := sendPidfd("", "setns", nil); err != nil {
		t.Errorf("without a socket: %v", err)
	}
}

// TestRunWaitsForPidfd: a container does not run while who wants its pidfd has not got it.
func TestRunWaitsForPidfd(t *testing.T) {
	busybox, err := exec.LookPath("busybox")
	if err != nil || os.Getuid() != 0 {
		t.Skip("needs root and busybox")
	}
	dir := t.TempDir()
	id, sock := fmt.Sprintf("skiff-test-%d-pidfd", os.Getpid()), filepath.Join(dir, "pidfd.sock")
	s := defaults.Spec()
	s.Root, s.Process.Terminal, s.Process.Args = &specs.Root{Path: "root"}, false, []string{"/busybox", "true"}
	s.Linux.CgroupsPath = "/" + id
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "root"), 0o755), os.WriteFile(filepath.Join(dir, "root/busybox"), program, 0o755),
		os.WriteFile(filepath.Join(dir, "config.json"), b, 0o600)); err != nil {
		t.Fatal(err)
	}
	// A socket whose queue is full makes who connects wait.
	at := &unix.SockaddrUnix{Name: sock}
	l, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = errors.Join(unix.Bind(l, at), unix.Listen(l, 0))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(l)
	waiting := 0
	for ; err == nil; waiting++ {
		c, e := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if e != nil {
			t.Fatal(e)
		}
		defer unix.Close(c)
		err = unix.Connect(c, at)
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	type end struct {
		code int
		err  error
	}
	ended := make(chan end, 1)
	state := filepath.Join(dir, "state")
	go func() {
		a := &app{ctx: t.Context(), name: "skiff-oci", stdout: io.Discard}
		code, err := a.dispatch([]string{"--root", state, "run", "--bundle", dir, "--pidfd-socket", sock, id})
		ended <- end{code, err}
	}()
	for st := specs.StateCreating; st == specs.StateCreating; {
		select {
		case e := <-ended:
			t.Fatal(e)
		default:
		}
		c, err := oci.Load(state, id)
		if errors.Is(err, oci.ErrNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if st, err = c.Status(); err != nil || st != specs.StateCreating && st != specs.StateCreated {
			t.Errorf("state %q, %v", st, err)
		}
		c.Init.Close()
	}
	for range waiting { // the last of them is the runtime's
		c, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(c)
	}
	if e := <-ended; e != (end{}) {
		t.Error(e)
	}
}

func receive(t *testing.T, l *net.UnixListener) (*os.File, string) {
	t.Helper()
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	msg, oob := make([]byte, 100), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(msg, oob)
	if err != nil {
		t.Fatal(err)
	}
	cs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(cs) != 1 {
		t.Fatal(cs, err)
	}
	fds, err := unix.ParseUnixRights(&cs[0])
	if err != nil || len(fds) != 1 {
		t.Fatal(fds, err)
	}
	return os.NewFile(uintptr(fds[0]), "received"), string(msg[:n])
}
