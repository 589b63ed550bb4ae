// Package runtime runs skiff-oci's command line on real bundles, as an engine or the suites of runc do.
package runtime

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/test/e2e/cluster"
	"go.skiff.dev/skiff/test/testimage"
)

// bundle is a directory with a configuration and a root of busybox, and a state directory for its containers.
type bundle struct {
	t        *testing.T
	dir, id  string
	spec     *specs.Spec
	launcher []string // runs the program, such as taskset
}

var built = sync.OnceValues(func() ([]byte, error) {
	return exec.Command("make", "-C", cluster.Root(), "bin/skiff-oci").CombinedOutput()
})

// open makes a bundle with the configuration of `skiff-oci spec`, without a terminal.
func open(t *testing.T) *bundle {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: containers are made of namespaces and cgroups")
	}
	if out, err := built(); err != nil {
		t.Fatalf("building skiff-oci: %v\n%s", err, out)
	}
	b := &bundle{t: t, dir: t.TempDir()}
	b.id = strings.ReplaceAll(strings.TrimPrefix(b.dir, os.TempDir()+"/"), "/", "-")
	b.unpack()
	if out, code := b.try("spec", "--bundle", b.dir); code != 0 {
		t.Fatal(out)
	}
	text, err := os.ReadFile(b.dir + "/config.json")
	if err != nil {
		t.Fatal(err)
	}
	b.spec = new(specs.Spec)
	if err := json.Unmarshal(text, b.spec); err != nil {
		t.Fatal(err)
	}
	b.spec.Process.Terminal = false
	b.spec.Root.Readonly = false
	t.Cleanup(func() {
		list, _ := b.try("list", "-q")
		for id := range strings.FieldsSeq(list) {
			b.try("delete", "--force", id)
		}
		// A container in the host's mount namespace leaves its mounts, and nobody wants the files in them removed.
		for unix.Unmount(b.root(), unix.MNT_DETACH) == nil {
		}
	})
	return b
}

func (b *bundle) root() string { return b.dir + "/rootfs" }

func (b *bundle) unpack() {
	b.t.Helper()
	image, err := testimage.Busybox()
	if err != nil {
		b.t.Skip(err)
	}
	for _, m := range image.Layers[0] {
		p := filepath.Join(b.root(), m.Name)
		switch {
		case strings.HasSuffix(m.Name, "/"):
			err = os.MkdirAll(p, os.FileMode(m.Mode))
		case m.Linkname != "":
			err = os.Link(filepath.Join(b.root(), m.Linkname), p)
		default:
			if err = os.MkdirAll(filepath.Dir(p), 0o755); err == nil {
				err = os.WriteFile(p, m.Body, os.FileMode(m.Mode))
			}
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
}

// try runs a verb and returns what it wrote, and its exit code or -1.
func (b *bundle) try(args ...string) (string, int) {
	line := append(append([]string{}, b.launcher...), filepath.Join(cluster.Root(), "bin/skiff-oci"), "--root", b.dir+"/state")
	line = append(line, args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir = b.dir
	return cluster.Output(cmd, b.dir)
}

// save writes the configuration.
func (b *bundle) save() {
	b.t.Helper()
	text, err := json.Marshal(b.spec)
	if err == nil {
		err = os.WriteFile(b.dir+"/config.json", text, 0o600)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// want runs a verb, which must end with code, and returns what it wrote but for warnings of what the machine forbids.
func (b *bundle) want(code int, args ...string) string {
	b.t.Helper()
	out, got := b.try(args...)
	if got != code {
		b.t.Fatalf("skiff-oci %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, out)
	}
	var kept []string
	for line := range strings.Lines(out) {
		if !strings.Contains(line, "CAP_SYS_RESOURCE") {
			kept = append(kept, line)
		}
	}
	return strings.TrimSpace(strings.Join(kept, ""))
}

// run runs a shell script in a new container and returns what it wrote.
func (b *bundle) run(script string, flags ...string) string {
	b.t.Helper()
	return b.runs(0, script, flags...)
}

func (b *bundle) runs(code int, script string, flags ...string) string {
	b.t.Helper()
	b.spec.Process.Args = []string{"sh", "-c", script}
	b.save()
	return b.want(code, append(append([]string{"run"}, flags...), b.id)...)
}

// refused runs a container that must not come to be, and looks for words in the reason.
func (b *bundle) refused(words string) {
	b.t.Helper()
	if out := b.runs(1, "true"); !strings.Contains(out, words) {
		b.t.Errorf("refused with %q, want %q", out, words)
	}
}

func (b *bundle) same(what, got, want string) {
	b.t.Helper()
	if got != want {
		b.t.Errorf("%s: %q, want %q", what, got, want)
	}
}
