package container

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/kernel/kerneltest"
	"go.skiff.dev/skiff/internal/kernel/mount"
)

// nativeDir names a directory in which newNode makes nodes whose containers
// get copies of their images.
const nativeDir = "SKIFF_TEST_NATIVE"

// onOverlay makes nodes on a file system where overlayfs does not work: an
// overlay.
func onOverlay(t *testing.T) {
	t.Helper()
	merged := kerneltest.Overlay(t)
	if err := mount.ProbeOverlay(merged, merged); err == nil {
		t.Fatal("overlayfs works on an overlay: this tests nothing")
	}
	t.Setenv(nativeDir, merged)
}

// TestNative runs what must hold for every container where each is a copy.
func TestNative(t *testing.T) {
	onOverlay(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"Merge", nativeMerge}, {"Shared", nativeShared}, {"Usage", nativeUsage}, {"Users", nativeUsers},
		{"Rollback", nativeRollback},
		{"TestUserNamespace", TestUserNamespace}, {"TestUserNamespaceOwnsImageVolumes", TestUserNamespaceOwnsImageVolumes},
		{"TestForeignRuntime", TestForeignRuntime}, {"TestImageVolumes", TestImageVolumes},
		{"TestPodLife", TestPodLife}, {"TestUsers", TestUsers}, {"TestKilledSkiffFindsEverythingAgain", TestKilledSkiffFindsEverythingAgain},
	} {
		t.Run(test.name, test.run)
	}
}

const userXattr = "SCHILY.xattr.user.kind"

// layered imports an image whose second layer takes away and replaces what the
// first one brings.
func layered(n *node) {
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		n.t.Fatal(err)
	}
	one := tarOf(n.t, func(w *tarWriter) {
		for _, d := range []string{"bin", "proc", "sys", "dev", "etc", "keep", "opaque", "opaque/deep", "gone"} {
			w.dir(d)
		}
		w.entry(&tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, string(busybox))
		for _, applet := range []string{"sh", "stat", "find", "sort", "sleep", "cat", "ls"} {
			w.entry(&tar.Header{Name: "bin/" + applet, Typeflag: tar.TypeLink, Linkname: "bin/busybox"}, "")
		}
		// cap_net_bind_service=ep, of revision 2.
		w.entry(&tar.Header{Name: "bin/busybox-bind", Typeflag: tar.TypeReg, Mode: 0o755, Format: tar.FormatPAX, PAXRecords: map[string]string{
			"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04" + strings.Repeat("\x00", 14),
		}}, string(busybox))
		w.file("keep/old", "old", 0o644)
		w.file("keep/gone", "gone", 0o644)
		w.file("opaque/deep/hidden", "hidden", 0o644)
		w.file("gone/file", "file", 0o644)
		w.file("etc/dir-to-be", "a file", 0o644)
		w.file("etc/hosts", "", 0o644)
	})
	two := tarOf(n.t, func(w *tarWriter) {
		w.entry(&tar.Header{Name: "keep/", Typeflag: tar.TypeDir, Mode: 0o1777, Uid: 7, Gid: 8}, "")
		w.file("keep/.wh.gone", "", 0)
		w.file("keep/new", "new", 0o644)
		w.file(".wh.gone", "", 0)
		w.file("opaque/.wh..wh..opq", "", 0)
		w.file("opaque/own", "own", 0o644)
		w.dir("etc/dir-to-be")
		w.entry(&tar.Header{Name: "etc/setuid", Typeflag: tar.TypeReg, Mode: 0o4711, Uid: 1000, Gid: 1001, Format: tar.FormatPAX, PAXRecords: map[string]string{userXattr: "odd"}}, "x")
		w.entry(&tar.Header{Name: "etc/pipe", Typeflag: tar.TypeFifo, Mode: 0o600}, "")
	})
	n.importLayers("layered:1", imageSpec{}, one, two)
}

func useLayered(c *runtimeapi.ContainerConfig) { c.Image.Image = "layered:1" }

// nativeMerge finds two layers merged as an overlay would show them.
func nativeMerge(t *testing.T) {
	n := newNode(t)
	layered(n)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", useLayered, "sleep", "1000")
	out, code := n.exec(id, "sh", "-c", "cd /; find keep opaque gone etc 2>&1 | sort; stat -c '%a %u %g' keep etc/setuid; stat -c %h bin/busybox; stat -c %F etc/pipe; cat keep/new; echo; cat keep/old")
	want := "etc\netc/dir-to-be\netc/hostname\netc/hosts\netc/pipe\netc/resolv.conf\netc/setuid\nfind: gone: No such file or directory\nkeep\nkeep/new\nkeep/old\nopaque\nopaque/own\n" +
		"1777 7 8\n4711 1000 1001\n8\nfifo\nnew\nold"
	if out != want || code != 0 {
		t.Errorf("inside, code %d:\n%s\nwant\n%s", code, out, want)
	}
	value := make([]byte, 16)
	size, err := unix.Getxattr(filepath.Join(n.s.copyDir(id), "etc/setuid"), "user.kind", value)
	if err != nil || string(value[:size]) != "odd" {
		t.Errorf("the attribute of etc/setuid: %q %v", value[:max(size, 0)], err)
	}
}

// nativeShared writes in place to a file of the image in one container and
// finds it as it was in another, and in the store.
func nativeShared(t *testing.T) {
	n := newNode(t)
	layered(n)
	box, config := n.sandbox("pod", nil)
	a := n.run(box, config, "a", useLayered, "sleep", "1000")
	b := n.run(box, config, "b", useLayered, "sleep", "1000")
	n.exec(a, "sh", "-c", "printf XXX >> /keep/old; printf YYY > /etc/setuid; chmod 0777 /keep/new; busybox chown 5 /keep/new; busybox rm -rf /opaque")
	for _, id := range []string{b, n.run(box, config, "c", useLayered, "sleep", "1000")} {
		if out, _ := n.exec(id, "sh", "-c", "cat /keep/old /etc/setuid; stat -c ' %a %u' /keep/new; ls /opaque"); out != "oldx 644 0\nown\n" {
			t.Errorf("another container sees %q", out)
		}
	}
	dir := n.s.containerDir(a)
	if _, err := n.s.RemoveContainer(n.ctx(), &runtimeapi.RemoveContainerRequest{ContainerId: a}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the removed container's directory: %v", err)
	}
}

// nativeUsage counts what a container wrote, and not its image.
func nativeUsage(t *testing.T) {
	n := newNode(t)
	n.importImage("big:1", imageSpec{files: map[string]string{"data/big": strings.Repeat("x", 2<<20)}})
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", func(c *runtimeapi.ContainerConfig) { c.Image.Image = "big:1" }, "sleep", "1000")
	used := func() uint64 {
		answer, err := n.s.ContainerStats(n.ctx(), &runtimeapi.ContainerStatsRequest{ContainerId: id})
		if err != nil {
			t.Fatal(err)
		}
		return answer.GetStats().GetWritableLayer().GetUsedBytes().GetValue()
	}
	before := used()
	if before > 256<<10 { // busybox alone has more
		t.Errorf("a container that wrote nothing uses %d bytes", before)
	}
	n.exec(id, "dd", "if=/dev/zero", "of=/data/file", "bs=1024", "count=3072")
	if now := used(); now < before+3<<20 || now > before+4<<20 {
		t.Errorf("with a file of 3 MiB it uses %d bytes, before %d", now, before)
	}
	n.exec(id, "sh", "-c", "echo x >> /data/big")
	if now := used(); now < before+5<<20 {
		t.Errorf("with a file of 2 MiB changed it uses %d bytes, before %d", now, before)
	}
	fs, err := n.s.ImageFsInfo(n.ctx(), &runtimeapi.ImageFsInfoRequest{})
	if err != nil || fs.GetContainerFilesystems()[0].GetUsedBytes().GetValue() < 4<<20 {
		t.Errorf("the containers' file system: %v %v", fs, err)
	}
}

// nativeUsers gives a pod in a user namespace a root whose files are its own.
func nativeUsers(t *testing.T) {
	n := newNode(t)
	layered(n)
	box, config := n.sandbox("pod", func(c *runtimeapi.PodSandboxConfig) {
		podUsers(c.Linux.SecurityContext.NamespaceOptions, runtimeapi.NamespaceMode_POD, idRange(0, mappedRoot, 65536))
	})
	id := n.run(box, config, "app", useLayered, "sleep", "1000")
	if out, _ := n.exec(id, "sh", "-c", "stat -c '%u %g %a' /keep /etc/setuid /bin/busybox"); out != "7 8 1777\n1000 1001 4711\n0 0 755\n" {
		t.Errorf("inside: %q", out)
	}
	// A program of the image with a capability has it.
	user := n.run(box, config, "user", func(c *runtimeapi.ContainerConfig) {
		useLayered(c)
		c.Linux.SecurityContext.RunAsUser = &runtimeapi.Int64Value{Value: 1000}
	}, "sleep", "1000")
	if out, _ := n.exec(user, "/bin/busybox-bind", "grep", "CapEff", "/proc/self/status"); out != "CapEff:\t0000000000000400\n" {
		t.Errorf("of a program with cap_net_bind_service: %q", out)
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(n.s.copyDir(id), "etc/setuid"), &st); err != nil || st.Uid != mappedRoot+1000 || st.Gid != mappedRoot+1001 {
		t.Errorf("on the node: owner %d:%d, %v", st.Uid, st.Gid, err)
	}
}

// nativeRollback refuses a container after its root was copied.
func nativeRollback(t *testing.T) {
	n := newNode(t)
	n.importImage("bad:1", imageSpec{Volumes: map[string]struct{}{"/": {}}})
	box, config := n.sandbox("pod", nil)
	_, err := n.create(box, config, "app", func(c *runtimeapi.ContainerConfig) { c.Image.Image = "bad:1" }, "true")
	if err == nil || !strings.Contains(err.Error(), "root as a volume") {
		t.Errorf("creating it: %v", err)
	}
	if left, err := os.ReadDir(n.s.containersDir()); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}
