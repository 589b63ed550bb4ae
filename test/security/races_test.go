package security

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"

	"go.skiff.dev/skiff/internal/kernel/mount"
	"go.skiff.dev/skiff/internal/kubelet/volume"
)

const (
	// starts is how many containers a race is run against, calls how many single steps.
	starts = 25
	calls  = 10_000
	// tries is how many are started at most until one comes up: most find the link and give up.
	tries = 1000
)

// trap makes, below dir, a directory "real" and a link "link" to target, which swap exchanges.
func trap(t testing.TB, dir, target string) (stop func()) {
	t.Helper()
	place := filepath.Join(dir, "real")
	link := filepath.Join(dir, "link")
	if err := errors.Join(os.MkdirAll(place, 0o777), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	return swap(t, place, link)
}

// TestRaceOfMountTargets: CVE-2021-30465, CVE-2024-45310. The directory in which
// places for mounts are found and made becomes a link to the host's files, and a
// directory again, all the while.
func TestRaceOfMountTargets(t *testing.T) {
	c := newCanary(t)
	top := filepath.Join(t.TempDir(), "root")
	stop := trap(t, filepath.Join(top, "vol"), c.abs("dir"))
	defer stop()
	fd, err := unix.Open(top, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	root := mount.Root{FD: fd}
	inside := 0
	for i := range calls {
		open := root.MkdirAll
		if i%2 == 1 {
			open = root.File
		}
		at, err := open(fmt.Sprintf("/vol/real/%d/%d", i%50, i%100), 0o755)
		if err != nil {
			continue // it lost the race
		}
		where, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", at))
		unix.Close(at)
		if err != nil || !strings.HasPrefix(where, top+"/") {
			t.Fatalf("call %d led to %q, %v", i, where, err)
		}
		inside++
	}
	if inside == 0 {
		t.Error("no call came through")
	}
	c.check("calls")

	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBox(t, "")
	stopBox := trap(t, filepath.Join(b.root, "vol"), c.abs("dir"))
	defer stopBox()
	for i := range starts {
		b.renew("echo up")
		b.spec.Mounts = append(b.spec.Mounts,
			specs.Mount{Destination: fmt.Sprintf("/vol/real/t%d", i), Type: "tmpfs", Source: "tmpfs"},
			specs.Mount{Destination: fmt.Sprintf("/vol/real/f%d", i), Type: "bind", Source: source, Options: []string{"bind"}})
		if out, err := b.run(); err == nil && !strings.Contains(out, "up") {
			t.Errorf("start %d: %q", i, out)
		}
		c.check(fmt.Sprint("start ", i))
	}
	c.mounted("starts")
}

// TestRaceOfMasking: CVE-2025-31133. What masks is the null device, whatever the
// image's own is at that moment, and what is masked is what was meant.
func TestRaceOfMasking(t *testing.T) {
	c := newCanary(t)
	b := newBox(t, "")
	b.must(os.Mkdir(filepath.Join(b.root, "dev"), 0o755))
	null, link := filepath.Join(b.root, "dev/null"), filepath.Join(b.root, "dev/link")
	b.must(unix.Mknod(null, unix.S_IFCHR|0o666, 1<<8|3))
	b.must(os.Symlink("/proc/sysrq-trigger", link))
	defer swap(t, null, link)()
	b.must(os.MkdirAll(filepath.Join(b.root, "m/real/kernel"), 0o755))
	stop := trap(t, filepath.Join(b.root, "m"), "/proc/sys")
	defer stop()
	up := 0
	for i := 0; i < starts || up == 0 && i < tries; i++ {
		// Only the bind of a regular file over the masked one would show other numbers.
		b.renew(`for f in /proc/timer_list /proc/kcore /proc/keys; do test -e $f && stat -c '%F %t %T' $f; done; exec 2>&-; (echo x > /proc/sysrq-trigger) && echo written; echo up`)
		b.ownDev()
		b.spec.Linux.MaskedPaths = append(b.spec.Linux.MaskedPaths, "/m/real/kernel")
		out, err := b.run()
		if err != nil {
			continue // it lost the race
		}
		up++
		for line := range strings.Lines(out) {
			if line = strings.TrimSpace(line); line != "character special file 1 3" && line != "up" {
				t.Errorf("start %d: %q", i, out)
			}
		}
	}
	if up == 0 {
		t.Error("no container came up")
	}
	c.check("masking")
}

// TestRaceOfConsole: CVE-2025-52565. The terminal lies on /dev/console and on
// nothing that a link there names.
func TestRaceOfConsole(t *testing.T) {
	b := newBox(t, "")
	b.must(os.Mkdir(filepath.Join(b.root, "dev"), 0o755))
	console, link := filepath.Join(b.root, "dev/console"), filepath.Join(b.root, "dev/link")
	b.must(os.WriteFile(console, nil, 0o600))
	b.must(os.Symlink("/proc/sys/kernel/core_pattern", link))
	defer swap(t, console, link)()
	up := 0
	for i := 0; i < starts || up == 0 && i < tries; i++ {
		b.renew(`grep ' devpts ' /proc/self/mountinfo`)
		b.ownDev()
		b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666"}})
		b.spec.Process.Terminal = true
		out, err := b.run()
		if err != nil {
			continue // it found the link
		}
		up++
		if strings.Contains(out, "/proc") || !strings.Contains(out, "/dev/pts") {
			t.Errorf("start %d: %q", i, out)
		}
	}
	if up == 0 {
		t.Error("no container came up")
	}
}

// TestRaceOfSettings: CVE-2025-52881, CVE-2019-19921. Settings are written to a
// procfs that nobody can put anything in place of.
func TestRaceOfSettings(t *testing.T) {
	c := newCanary(t)
	b := newBox(t, "")
	fake := filepath.Join(b.root, "fake/sys/net/ipv4")
	b.must(os.MkdirAll(fake, 0o777))
	setting := filepath.Join(fake, "ip_unprivileged_port_start")
	b.must(os.WriteFile(setting, []byte("untouched"), 0o666))
	b.must(os.Mkdir(filepath.Join(b.root, "proc"), 0o755))
	b.must(os.Symlink("fake", filepath.Join(b.root, "proc2")))
	defer swap(t, filepath.Join(b.root, "proc"), filepath.Join(b.root, "proc2"))()
	up := 0
	for i := 0; i < starts || up == 0 && i < tries; i++ {
		b.renew("cat /proc/sys/net/ipv4/ip_unprivileged_port_start")
		b.spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_unprivileged_port_start": "77"}
		out, err := b.run()
		if err != nil {
			continue // it found the link
		}
		up++
		// What is mounted on the directory goes with it when its name is exchanged.
		if got := strings.TrimSpace(out); got != "77" && got != "untouched" && !strings.Contains(got, "No such file") {
			t.Errorf("start %d: the setting is %q", i, got)
		}
	}
	if up == 0 {
		t.Error("no container came up")
	}
	if data, err := os.ReadFile(setting); err != nil || string(data) != "untouched" {
		t.Errorf("the image's file was written: %q, %v", data, err)
	}
	c.check("settings")
}

// TestWritesToProcAreChecked: the same, step by step. A write goes to a file of the
// file system that is meant, through no link and over no other mount.
func TestWritesToProcAreChecked(t *testing.T) {
	fd, err := mount.FS("tmpfs", "tmpfs", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	dir := fmt.Sprintf("/proc/self/fd/%d/", fd)
	c := newCanary(t)
	if err := errors.Join(os.WriteFile(dir+"file", nil, 0o600), os.Symlink("file", dir+"link"), os.Symlink(c.abs("file"), dir+"out"), os.Symlink(".", dir+"dir")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		"link": unix.ELOOP, "out": unix.ELOOP, "dir/file": unix.ELOOP, "../" + c.up("file"): unix.EXDEV, "none": unix.ENOENT,
	} {
		if err := mount.Write(fd, unix.TMPFS_MAGIC, name, "dead"); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if err := mount.Write(fd, unix.PROC_SUPER_MAGIC, "file", "dead"); !errors.Is(err, unix.EXDEV) {
		t.Errorf("a file that is not procfs's: %v", err)
	}
	if err := mount.Write(fd, unix.TMPFS_MAGIC, "file", "alive"); err != nil {
		t.Errorf("the file itself: %v", err)
	}
	if data, err := os.ReadFile(dir + "file"); err != nil || string(data) != "alive" {
		t.Errorf("the file holds %q, %v", data, err)
	}
	c.check("writes")
}

// TestRaceOfSubPaths: CVE-2017-1002101, CVE-2021-25741. The part of a volume that
// a container gets is a part of the volume.
func TestRaceOfSubPaths(t *testing.T) {
	c := newCanary(t)
	m := &volume.Manager{Dir: filepath.Join(t.TempDir(), "pods")}
	pod := &v1.Pod{Spec: v1.PodSpec{Volumes: []v1.Volume{{Name: "v", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}}}}}
	pod.Name, pod.UID = "pod", "uid"
	t.Cleanup(func() {
		if err := m.Teardown("uid", true); err != nil {
			t.Error(err)
		}
		c.mounted("the end")
	})
	if _, err := m.Setup(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	v := &pod.Spec.Volumes[0]
	stop := trap(t, m.Path("uid", v), c.abs("dir"))
	defer stop()
	var own unix.Stat_t
	if err := unix.Stat(c.abs("dir/file"), &own); err != nil {
		t.Fatal(err)
	}
	got := 0
	for i := range calls / 5 {
		sub := []string{"real", "real/file", "real/new"}[i%3]
		target, err := m.SubPath(pod, v, "app", i%3, sub)
		if err != nil {
			continue // it lost the race
		}
		got++
		for _, path := range []string{target, filepath.Join(target, "file")} {
			var st unix.Stat_t
			if unix.Stat(path, &st) == nil && st.Ino == own.Ino && st.Dev == own.Dev {
				t.Fatalf("call %d: sub path %q is a file of the host", i, sub)
			}
		}
	}
	if got == 0 {
		t.Error("no sub path was made")
	}
	c.check("sub paths")
}
