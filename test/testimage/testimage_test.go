package testimage

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.skiff.dev/skiff/internal/image"
)

// Every image that tests use is imported, and its program runs in it.
func TestImagesRun(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(...string) (Image, error)
		args []string
		want string
	}{
		{"busybox", Busybox, []string{"/bin/sh", "-c", "echo ok"}, "ok"},
		{"nginx", Nginx, []string{"/usr/sbin/nginx", "-v"}, "nginx version"},
		{"dnsutils", DNSUtils, []string{"/usr/bin/dig", "-v"}, "DiG"},
	} {
		t.Run(c.name, func(t *testing.T) {
			img, err := c.make()
			if err != nil {
				t.Skip(err)
			}
			var first, second bytes.Buffer
			if err := img.WriteDockerArchive(&first); err != nil {
				t.Fatal(err)
			}
			if err := img.WriteDockerArchive(&second); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
				t.Fatalf("the archive is not the same twice (%v)", err)
			}
			s, err := image.Open(image.Options{Dir: filepath.Join(t.TempDir(), "images")})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			got, err := s.Import(context.Background(), &first, image.ImportOptions{})
			if err != nil {
				t.Fatal(err)
			}
			layers, release, err := s.Prepare(context.Background(), got[0].ID, "t")
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			out, err := runIn(t, layers, c.args)
			if err != nil || !strings.Contains(out, c.want) {
				t.Errorf("%v: %q, %v", c.args, out, err)
			}
		})
	}
}

// runIn mounts the layers in a mount namespace of its own and runs a program there.
func runIn(t *testing.T, layers image.Layers, args []string) (string, error) {
	t.Helper()
	root := t.TempDir()
	lower := strings.Join(append([]string{t.TempDir()}, layers.Lower...), ":")
	script := `mount -t overlay overlay -o "lowerdir=$0" "$1" && root=$1 && shift && exec chroot "$root" "$@"`
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, lower, root}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
