package security

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestHostileImages starts containers whose root file system has a link where
// the runtime mounts, makes or covers something. They start or are refused; the
// host's files are as before, and what is masked is masked.
func TestHostileImages(t *testing.T) {
	c := newCanary(t)
	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, []byte("nameserver 10.43.0.10\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	bind := func(at string) func(*box) {
		return func(b *box) {
			b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: at, Type: "bind", Source: source, Options: []string{"bind"}})
		}
	}
	tmpfs := func(at string) func(*box) {
		return func(b *box) {
			b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: at, Type: "tmpfs", Source: "tmpfs"})
		}
	}
	ownDev := func(b *box) { b.ownDev() }
	for _, h := range []struct {
		// at is the link of the image, edit what the configuration does there.
		at   string
		edit func(*box)
		// dir says that it must lead to a directory to do harm.
		dir, refused bool
	}{
		{"proc", nil, true, true},
		{"sys", nil, true, true},
		{"dev", nil, true, false},
		{"dev", ownDev, true, true},
		{"dev/shm", nil, true, false},
		{"dev/shm", func(b *box) { b.ownDev(); tmpfs("/dev/shm")(b) }, true, false},
		{"dev/pts", func(b *box) {
			b.ownDev()
			b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance"}})
		}, true, false},
		{"dev/mqueue", nil, true, false},
		{"dev/null", ownDev, false, false},
		{"dev/ptmx", ownDev, false, false},
		{"dev/stdin", ownDev, false, false},
		{"dev/console", func(b *box) { b.ownDev(); b.spec.Process.Terminal = true }, false, true},
		{"etc", bind("/etc/resolv.conf"), true, false},
		{"etc/resolv.conf", bind("/etc/resolv.conf"), false, false},
		{"etc/hosts", bind("/etc/hosts"), false, false},
		{"etc/hostname", bind("/etc/hostname"), false, false},
		{"run/secrets", bind("/run/secrets/deep/token"), true, false},
		{"data", tmpfs("/data"), true, false},
		{"data", tmpfs("/data/new/dir"), true, false},
		{"data", bind("/data/new/file"), true, false},
		{"work", func(b *box) { b.spec.Process.Cwd = "/work" }, true, false},
		{"masked", func(b *box) { b.spec.Linux.MaskedPaths = append(b.spec.Linux.MaskedPaths, "/masked") }, true, false},
		{"readonly", func(b *box) { b.spec.Linux.ReadonlyPaths = append(b.spec.Linux.ReadonlyPaths, "/readonly") }, true, false},
	} {
		leaf := "file"
		if h.dir {
			leaf = "dir"
		}
		for form, target := range map[string]string{
			"absolute": c.abs(leaf), "relative": c.up(leaf), "proc": "/proc/1/root" + c.abs(leaf), "descriptor": "/proc/self/fd/3/" + c.up(leaf),
		} {
			name := strings.ReplaceAll(h.at, "/", "-") + "/" + form
			t.Run(name, func(t *testing.T) {
				b := newBox(t, "echo up; cat /proc/timer_list /proc/kcore | head -c 1; echo x > /proc/sys/kernel/panic && echo written")
				b.must(os.MkdirAll(filepath.Dir(filepath.Join(b.root, h.at)), 0o755))
				b.must(os.Symlink(target, filepath.Join(b.root, h.at)))
				if h.edit != nil {
					h.edit(b)
				}
				out, err := b.run()
				c.check(name)
				c.mounted(name)
				if h.refused && err == nil {
					t.Errorf("it started, and said %q", out)
				}
				if err == nil && (!strings.HasPrefix(strings.ReplaceAll(out, "\r", ""), "up\n") && !strings.Contains(out, "up") || strings.Contains(out, "written")) {
					t.Errorf("it said %q", out)
				}
				if err != nil && len(err.Error()) < 20 {
					t.Errorf("%v does not say what is wrong", err)
				}
			})
		}
	}
}

// TestDescriptorsDoNotLeak: CVE-2016-9962, CVE-2024-21626. A container has its standard files and no others, and no
// working directory leads through one.
func TestDescriptorsDoNotLeak(t *testing.T) {
	b := newBox(t, "cd /proc/self/fd && echo *")
	out, err := b.run()
	// The shell opens one for the directory it expands.
	if err != nil || strings.TrimSpace(out) != "0 1 2" && strings.TrimSpace(out) != "0 1 2 3" {
		t.Errorf("descriptors %q, %v", out, err)
	}
	for n := 3; n < 64; n++ {
		b.renew("readlink /proc/self/cwd; ls -d ../../../../../..")
		b.spec.Process.Cwd = fmt.Sprintf("/proc/self/fd/%d/../../..", n)
		if out, err := b.run(); err == nil {
			t.Errorf("working directory %s led to %q", b.spec.Process.Cwd, out)
		}
	}
}
