package oci

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/kerneltest"
)

// TestSharedHost runs containers where "/" and /dev are shared mounts, as systemd makes them on nearly every host:
// nothing that is mounted in a container may come out of it.
func TestSharedHost(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Mount) {
		return
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	before := mountpoints(t)
	for name, propagation := range map[string]string{"default": "", "private": "rprivate", "slave": "rslave", "shared": "rshared"} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t, "mkdir /inside && mount -t tmpfs none /inside && echo done")
			b.spec.Linux.RootfsPropagation = propagation
			b.spec.Process.Capabilities.Bounding = append(b.spec.Process.Capabilities.Bounding, "CAP_SYS_ADMIN")
			b.spec.Process.Capabilities.Effective = append(b.spec.Process.Capabilities.Effective, "CAP_SYS_ADMIN")
			b.spec.Process.Capabilities.Permitted = append(b.spec.Process.Capabilities.Permitted, "CAP_SYS_ADMIN")
			b.spec.Linux.Seccomp = nil
			if out, code := b.run(); code != 0 || out != "done" {
				t.Errorf("exit code %d, output %q", code, out)
			}
			// Mounts that others had when this namespace was made go when they remove the directory; none comes.
			left := slices.Clone(before)
			for _, point := range mountpoints(t) {
				i := slices.Index(left, point)
				if i < 0 {
					t.Errorf("%s is mounted on the host now", point)
					continue
				}
				left = slices.Delete(left, i, i+1)
			}
		})
	}
}

// TestSharedVolume binds a shared mount of the host: with rshared, what the container mounts in it comes out, and only
// then.
func TestSharedVolume(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Mount) {
		return
	}
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	for _, propagation := range []string{"rprivate", "rslave", "rshared"} {
		t.Run(propagation, func(t *testing.T) {
			b := newBox(t, "mkdir /data/"+propagation+" && mount -t tmpfs none /data/"+propagation+" && echo done")
			b.spec.Linux.RootfsPropagation = propagation
			b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/data", Source: dir, Options: []string{"rbind", propagation}})
			b.spec.Process.Capabilities.Bounding = append(b.spec.Process.Capabilities.Bounding, "CAP_SYS_ADMIN")
			b.spec.Process.Capabilities.Effective = append(b.spec.Process.Capabilities.Effective, "CAP_SYS_ADMIN")
			b.spec.Process.Capabilities.Permitted = append(b.spec.Process.Capabilities.Permitted, "CAP_SYS_ADMIN")
			b.spec.Linux.Seccomp = nil
			if out, code := b.run(); code != 0 || out != "done" {
				t.Fatalf("exit code %d, output %q", code, out)
			}
			came := slices.ContainsFunc(mountpoints(t), func(p string) bool { return strings.HasPrefix(p, dir+"/"+propagation) })
			if came != (propagation == "rshared") {
				t.Errorf("the host sees the container's mount: %t", came)
			}
		})
	}
}

// mountpoints lists where something is mounted.
func mountpoints(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var points []string
	for line := range strings.Lines(string(data)) {
		points = append(points, strings.Fields(line)[1])
	}
	return points
}
