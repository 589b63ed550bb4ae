package cgroup

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLoadUnderSignals loads device programs while signals arrive, as they do in every Go program: the kernel's
// verifier then gives up now and then.
func TestLoadUnderSignals(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, tid := os.Getpid(), unix.Gettid()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Tgkill(pid, tid, unix.SIGURG) // what Go's scheduler preempts by
			}
		}
	}()
	defer func() {
		close(stop)
		<-stopped
	}()
	program := deviceProgram([]rule{{typ: 'a', major: -1, minor: -1, access: "rwm"}, {typ: 'c', major: 1, minor: 3, access: "rw", allow: true}})
	for range 500 {
		fd, err := loadDeviceProgram(program)
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
			t.Skip("this machine loads no BPF programs: ", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
	}
}
