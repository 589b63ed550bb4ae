package oci

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/namespace"
	"go.skiff.dev/skiff/internal/kernel/thread"
)

// makeNetwork makes the network namespace that cloneInit left out, for init to join.
func (cr *creation) makeNetwork(context.Context) error {
	if !cr.newNet {
		return nil
	}
	ns, err := thread.Apart(newNetwork)
	if err != nil {
		return fmt.Errorf("making a network namespace: %w", err)
	}
	join := join{fd: cr.files.add(ns, true), flag: unix.CLONE_NEWNET}
	cr.plan.joins = slices.Insert(cr.plan.joins, 0, join)
	if len(cr.o.Spec.Linux.NetDevices) > 0 {
		cr.netNS = ns
	}
	return nil
}

// newNetwork is for a thread of its own, which finds back or ends.
func newNetwork() (*os.File, error) {
	const path = "/proc/thread-self/ns/net"
	own, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer own.Close()
	// Go's scheduler is not told: it would start another thread, which stays, for what waits here half a millisecond.
	if _, _, errno := unix.RawSyscall(unix.SYS_UNSHARE, unix.CLONE_NEWNET, 0, 0); errno != 0 {
		return nil, os.NewSyscallError("unshare", errno)
	}
	ns, err := os.Open(path)
	if namespace.Enter(int(own.Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return ns, err
}
