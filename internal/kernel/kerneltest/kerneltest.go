// Package kerneltest runs tests against the real kernel in fresh namespaces.
//
// A test that wants its own network calls, as its first line,
//
//	if !kerneltest.Enter(t, kerneltest.Net) { return }
//
// In the process that `go test` started, Enter runs the test binary again for
// this one test, in fresh namespaces, passes on its output and verdict, and
// returns false. In that second process Enter returns true. So all threads of
// the test live in the fresh namespaces and whatever the test leaves behind
// vanishes with them.
package kerneltest

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Namespace is a set of namespaces to make fresh.
type Namespace uintptr

// The namespaces. Net and Mount make a private mount namespace too, in which
// /sys shows the fresh network. Pid also mounts a fresh /proc.
const (
	Net   Namespace = unix.CLONE_NEWNET | unix.CLONE_NEWNS
	Mount Namespace = unix.CLONE_NEWNS
	Pid   Namespace = unix.CLONE_NEWPID | unix.CLONE_NEWNS
	IPC   Namespace = unix.CLONE_NEWIPC
	UTS   Namespace = unix.CLONE_NEWUTS
)

const marker = "SKIFF_KERNELTEST"

// Enter runs the calling test or benchmark in fresh namespaces, see the
// package's documentation. It skips where the process is not root.
func Enter(tb testing.TB, ns Namespace) bool {
	tb.Helper()
	if os.Getenv(marker) == tb.Name() {
		prepare(tb, ns)
		return true
	}
	if os.Geteuid() != 0 {
		tb.Skip("making namespaces needs root")
	}
	cmd := exec.Command("/proc/self/exe", arguments(tb)...)
	cmd.Env = append(os.Environ(), marker+"="+tb.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: uintptr(ns), Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	text := out.String()
	switch {
	case err != nil:
		tb.Errorf("in fresh namespaces: %v\n%s", err, text)
	case strings.Contains(text, "--- SKIP: "+tb.Name()+" "):
		tb.Skip(text)
	default:
		tb.Log(text)
	}
	return false
}

// arguments are those of this process with the selection narrowed to tb.
func arguments(tb testing.TB) []string {
	exact := "^" + tb.Name() + "$"
	args := []string{"-test.v", "-test.run", exact}
	if _, ok := tb.(*testing.B); ok {
		args = []string{"-test.run", "^$", "-test.bench", exact, "-test.benchmem",
			"-test.benchtime", flag.Lookup("test.benchtime").Value.String()}
	}
	for _, arg := range os.Args[1:] {
		if !strings.HasPrefix(arg, "-test.") && strings.HasPrefix(arg, "-") {
			args = append(args, arg)
		}
	}
	return args
}

func prepare(tb testing.TB, ns Namespace) {
	tb.Helper()
	if ns&Mount == 0 {
		return
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		tb.Fatalf("making mounts private: %v", err)
	}
	if ns&unix.CLONE_NEWNET != 0 {
		// Best effort: only tests that look at /sys/class/net need it.
		_ = unix.Mount("sysfs", "/sys", "sysfs", 0, "")
	}
	if ns&unix.CLONE_NEWPID != 0 {
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			tb.Fatalf("mounting proc: %v", err)
		}
	}
}
