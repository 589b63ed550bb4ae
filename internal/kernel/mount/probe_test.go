package mount

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestProbeOverlay tries overlayfs where it works, on an overlay, which the kernel refuses for what is written, and
// where there is no room for the attributes of a layer. Nothing is left.
func TestProbeOverlay(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	disk := t.TempDir()
	must(t, unix.Mount("disk", disk, "tmpfs", 0, ""))
	defer func() { must(t, unix.Unmount(disk, unix.MNT_DETACH)) }()
	for _, dir := range []string{"lower", "upper", "work", "merged"} {
		must(t, os.Mkdir(filepath.Join(disk, dir), 0o755))
	}
	merged := filepath.Join(disk, "merged")
	must(t, unix.Mount("overlay", merged, "overlay", 0, "lowerdir="+disk+"/lower,upperdir="+disk+"/upper,workdir="+disk+"/work"))
	defer func() { must(t, unix.Unmount(merged, unix.MNT_DETACH)) }()
	layers, good, bad := filepath.Join(disk, "layers"), filepath.Join(disk, "good"), filepath.Join(merged, "bad")
	for _, dir := range []string{layers, good, bad} {
		must(t, os.Mkdir(dir, 0o755))
	}
	if err := ProbeOverlay(layers, good); err != nil {
		t.Error(err)
	}
	if err := ProbeOverlay(layers, bad); err == nil || !strings.Contains(err.Error(), bad) {
		t.Errorf("with what is written on an overlay: %v", err)
	}
	if err := ProbeOverlay(bad, good); err == nil || !strings.Contains(err.Error(), bad) {
		t.Errorf("with the layers on an overlay, which holds no whiteouts: %v", err)
	}
	for _, dir := range []string{layers, good, bad} {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v %v", dir, left, err)
		}
	}
}
