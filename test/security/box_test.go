package security

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/oci"
	"go.skiff.dev/skiff/internal/oci/defaults"
)

// box is a container whose root file system a test makes hostile.
type box struct {
	t    testing.TB
	root string
	spec *specs.Spec
	opts oci.CreateOptions
	c    *oci.Container
	out  *os.File
}

var boxes atomic.Int64

func newBox(t testing.TB, script string) *box {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("containers need root")
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("no static busybox at /bin/busybox (Debian: busybox-static)")
	}
	b := &box{t: t, root: filepath.Join(t.TempDir(), "root")}
	b.must(os.MkdirAll(filepath.Join(b.root, "bin"), 0o755))
	b.must(os.WriteFile(filepath.Join(b.root, "bin/busybox"), busybox, 0o755))
	for n := range strings.FieldsSeq("sh cat ls echo sleep true mkdir readlink stat grep test") {
		b.must(os.Symlink("busybox", filepath.Join(b.root, "bin", n)))
	}
	if b.out, err = os.CreateTemp(t.TempDir(), "out"); err != nil {
		t.Fatal(err)
	}
	b.renew(script)
	t.Cleanup(func() {
		b.remove()
		b.out.Close()
	})
	return b
}

// renew makes the next container's configuration, over the same root.
func (b *box) renew(script string) {
	b.spec = defaults.Spec()
	b.spec.Root = &specs.Root{Path: b.root}
	b.spec.Process.Terminal = false
	b.spec.Process.Args = []string{"sh", "-c", script}
	id := fmt.Sprintf("skiff-security-%d-%d", os.Getpid(), boxes.Add(1))
	b.spec.Linux.CgroupsPath = "/" + id
	b.opts = oci.CreateOptions{ID: id, StateDir: filepath.Join(filepath.Dir(b.root), "state"), Spec: b.spec, Stdio: [3]*os.File{nil, b.out, b.out}}
}

func (b *box) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// run starts the container, waits for its end, removes it and returns what it
// printed. An error is that of the creation or the start.
func (b *box) run() (string, error) {
	b.t.Helper()
	b.must(b.out.Truncate(0))
	if _, err := b.out.Seek(0, 0); err != nil {
		b.t.Fatal(err)
	}
	defer b.remove()
	if err := b.start(); err != nil {
		return "", err
	}
	if b.c.Init.Console != nil {
		_, _ = io.Copy(b.out, b.c.Init.Console) // ends with EIO
	}
	if _, err := b.c.Init.Wait(); err != nil {
		b.t.Fatal(err)
	}
	data, err := os.ReadFile(b.out.Name())
	b.must(err)
	return string(data), nil
}

func (b *box) start() error {
	var err error
	if b.c, err = oci.Create(b.t.Context(), b.opts); err != nil {
		b.c = nil
		return err
	}
	return b.c.Start(b.t.Context())
}

func (b *box) remove() {
	if b.c == nil {
		return
	}
	if err := b.c.Delete(true); err != nil && !errors.Is(err, oci.ErrNotFound) {
		b.t.Errorf("deleting a container: %v", err)
	}
	_, _ = b.c.Init.Wait() // run may have done so
	b.c = nil
}

// ownDev takes the mounts on and below /dev out of the configuration, so that the image's own directory is used.
func (b *box) ownDev() {
	var ms []specs.Mount
	for _, m := range b.spec.Mounts {
		if !strings.HasPrefix(m.Destination, "/dev") {
			ms = append(ms, m)
		}
	}
	b.spec.Mounts = ms
}

// swap exchanges two names without a pause until the test, or stop, ends it.
func swap(t testing.TB, one, two string) (stop func()) {
	t.Helper()
	end, done := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-end:
				done <- n
				return
			default:
			}
			if unix.Renameat2(unix.AT_FDCWD, one, unix.AT_FDCWD, two, unix.RENAME_EXCHANGE) == nil {
				n++
			}
		}
	}()
	return func() {
		close(end)
		if n := <-done; n == 0 {
			t.Errorf("%s and %s were never exchanged: the race did not take place", one, two)
		}
	}
}
