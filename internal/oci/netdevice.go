package oci

import (
	"fmt"
	"maps"
	"os"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"go.skiff.dev/skiff/internal/kernel/namespace"
	"go.skiff.dev/skiff/internal/kernel/netdev"
)

// netDeviceName is the device's name in the container.
func netDeviceName(name string, d specs.LinuxNetDevice) string {
	if d.Name != "" {
		return d.Name
	}
	return name
}

// keepNetNS keeps the network namespace that is joined beyond the clone of init, when other descriptors are closed.
func (cr *creation) keepNetNS() (err error) {
	if cr.netNS == nil {
		return nil
	}
	k, _ := namespace.ByType(string(specs.NetworkNamespace))
	if cr.netNS, err = namespace.Open(fmt.Sprintf("/proc/self/fd/%d", cr.netNS.Fd()), k); err == nil {
		cr.files.late = append(cr.files.late, cr.netNS)
	}
	return err
}

// moveDevices gives the container the network devices of linux.netDevices. They do not come back when a later step fails:
// with a namespace of the container's own the kernel sees to them, as it does in the end, and another's is its owner's.
func (cr *creation) moveDevices() error {
	l := cr.o.Spec.Linux
	if l == nil || len(l.NetDevices) == 0 {
		return nil
	}
	ns := cr.netNS
	if ns == nil {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", cr.child.pid))
		if err != nil {
			return fmt.Errorf("linux.netDevices: %w", err)
		}
		defer f.Close()
		ns = f
	}
	for _, name := range slices.Sorted(maps.Keys(l.NetDevices)) {
		if err := netdev.Move(name, netDeviceName(name, l.NetDevices[name]), ns); err != nil {
			return fmt.Errorf("linux.netDevices: %w", err)
		}
	}
	return nil
}
