package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/pidfd"
	"go.skiff.dev/skiff/internal/oci"
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
