package runtime

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/kerneltest"
)

// Hooks find the root at its path on the host: createRuntime's in the container's mount namespace, createContainer's also
// as working directory.
func TestHooksFindTheRoot(t *testing.T) {
	b := open(t)
	script := func(s string) []specs.Hook {
		return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", s}, Env: []string{"PATH=" + os.Getenv("PATH")}}}
	}
	source := b.dir + "/source"
	if err := os.WriteFile(source, []byte("bound"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.spec.Hooks = &specs.Hooks{
		CreateRuntime: script(fmt.Sprintf(`pid=$(sed 's/.*"pid":\([0-9]*\).*/\1/'); nsenter -m -t $pid mount --bind %s %s/etc/passwd`, source, b.root())),
		CreateContainer: script(fmt.Sprintf(`mount --bind %s ./etc/group && mount --bind %s %s/etc/nsswitch.conf`,
			source, source, b.root())),
	}
	b.same("files", b.run("cat /etc/passwd /etc/group /etc/nsswitch.conf"), "boundboundbound")
}

// The source of a bind mount may lie where an earlier mount has put something, and both may be named from the host.
func TestSourceInTheRoot(t *testing.T) {
	for _, mapped := range []bool{false, true} {
		b := open(t)
		for _, dir := range []string{"/source/inner", "/rootfs/one", "/rootfs/two"} {
			if err := os.MkdirAll(b.dir+dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
		last := specs.Mount{Destination: b.root() + "/two", Source: b.root() + "/one", Type: "bind", Options: []string{"rbind"}}
		want := "0"
		if mapped {
			last.UIDMappings, last.GIDMappings, last.Options, want = ids, ids, append(last.Options, "idmap"), "100000"
		}
		b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/one", Source: b.dir + "/source", Type: "bind", Options: []string{"bind"}}, last)
		b.same("owner of the directory", b.run("stat -c %u /two/inner"), want)
		// A link of the image leads nowhere else.
		if err := os.Symlink("/../../../../../..", b.root()+"/link"); err != nil {
			t.Fatal(err)
		}
		b.spec.Mounts[len(b.spec.Mounts)-1].Source = b.root() + "/link"
		b.same("what a link leads to", b.run("test -d /two/proc/1 -o -f /two/bin/busybox && ! test -d /two/rootfs && echo the root"), "the root")
	}
}

// Without a mount namespace the container's mounts are the host's; its mount table is otherwise what it was.
func TestNoMountNamespace(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Mount) {
		return
	}
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	b := open(t)
	var kept []specs.LinuxNamespace
	for _, n := range b.spec.Linux.Namespaces {
		if n.Type != specs.MountNamespace {
			kept = append(kept, n)
		}
	}
	b.spec.Linux.Namespaces, b.spec.Linux.MaskedPaths, b.spec.Linux.ReadonlyPaths = kept, nil, nil
	before := mountTable(t, b.dir)
	b.same("output", b.run("ls -d /proc/1 && test -c /dev/null && echo ok"), "/proc/1\nok")
	if err := exec.Command("umount", "-R", "-l", b.root()).Run(); err != nil {
		t.Errorf("the root is no mount: %v", err)
	}
	if after := mountTable(t, b.dir); after != before {
		t.Errorf("mounts before:\n%s\nafter:\n%s", before, after)
	}
	b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/x", Type: "no-such-file-system", Source: "x"})
	b.refused("no-such-file-system")
	if after := mountTable(t, b.dir); after != before {
		t.Errorf("mounts before:\n%s\nafter a container that did not come to be:\n%s", before, after)
	}
}

func mountTable(t *testing.T, dir string) string {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(table)) {
		// what others mount meanwhile, here without their namespaces, is not of interest; propagation and places are
		if f := strings.Fields(line); strings.HasPrefix(f[4], dir) || f[4] == "/" || f[4] == "/proc" || f[4] == "/dev" {
			lines = append(lines, strings.Join(f[4:], " ")+"\n")
		}
	}
	return strings.Join(lines, "")
}

// A container that joins a mount namespace has its mounts and masks there, and the root of its own.
func TestJoinedMountNamespace(t *testing.T) {
	holder := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-c", "mount -t tmpfs joined /mnt && echo ready && exec sleep 1000")
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	b := open(t)
	if err := holder.Start(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = holder.Process.Kill(); _ = holder.Wait() })
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	ns := fmt.Sprintf("/proc/%d/ns/mnt", holder.Process.Pid)
	for i, n := range b.spec.Linux.Namespaces {
		if n.Type == specs.MountNamespace {
			b.spec.Linux.Namespaces[i].Path = ns
		}
	}
	want, err := os.Readlink(ns)
	if err != nil {
		t.Fatal(err)
	}
	b.spec.Linux.MaskedPaths = []string{"/etc/passwd"}
	b.same("inside", b.run("readlink /proc/self/ns/mnt; wc -c </etc/passwd; ls -d /proc/1 /dev/null"), want+"\n0\n/dev/null\n/proc/1")
}

// Without pivot_root the old root's procfs must not stay: it would let a user namespace mount one without masks.
func TestNoPivot(t *testing.T) {
	b := open(t)
	b.same("the root", b.run("ls -d /proc/1; ls / | grep -c etc; ls /../../etc/passwd; grep -c ' / proc ' /proc/self/mountinfo; grep -c ' /proc ' /proc/self/mounts", "--no-pivot"),
		"/proc/1\n1\n/../../etc/passwd\n0\n1")
	for _, set := range []*[]string{&b.spec.Process.Capabilities.Bounding, &b.spec.Process.Capabilities.Effective, &b.spec.Process.Capabilities.Permitted} {
		*set = append(*set, "CAP_SYS_ADMIN")
	}
	b.spec.Linux.Seccomp = nil
	b.same("a procfs without masks", b.run("unshare -Urmpf mount -t proc none /mnt 2>/dev/null || mkdir -p /mnt && unshare -Urmpf mount -t proc none /mnt 2>/dev/null || echo refused", "--no-pivot"), "refused")
}

// The flags of a bind mount are those that are named, and its source's where none is.
func TestFlagsOfBinds(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Mount) {
		return
	}
	b := open(t)
	source := b.dir + "/source"
	if err := os.Mkdir(source, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", source, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOATIME, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(source, unix.MNT_DETACH) })
	for i, options := range [][]string{{"bind"}, {"bind", "ro"}, {"bind", "noexec", "relatime"}} {
		b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: fmt.Sprintf("/m%d", i), Type: "bind", Source: source, Options: options})
	}
	b.same("flags", b.run("grep -o ' /m[0-9] [^ ]*' /proc/self/mountinfo | sort"), "/m0 rw,nosuid,nodev,noatime\n /m1 ro,noatime\n /m2 rw,noexec,relatime")
}
