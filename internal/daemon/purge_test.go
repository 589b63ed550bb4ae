package daemon

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.skiff.dev/skiff/internal/config"
)

// TestPurgeKeepsArchives: the cluster goes, files that somebody dropped into the
// directory of archives stay, and that is said; without any nothing stays.
func TestPurgeKeepsArchives(t *testing.T) {
	for _, mine := range []bool{true, false} {
		cfg := &config.Config{DataDir: filepath.Join(t.TempDir(), "data")}
		for _, dir := range []string{"etcd", "archives"} {
			if err := os.MkdirAll(filepath.Join(cfg.DataDir, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		archive := filepath.Join(cfg.ArchiveDir(), "app.tar")
		if mine {
			if err := os.WriteFile(archive, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var said []string
		steps := fileSteps()
		if err := take(t.Context(), cfg, steps[len(steps)-1:], func(s string) { said = append(said, s) }); err != nil {
			t.Fatal(err)
		}
		want := []string{"removed data directory"}
		if mine {
			want = append(want, "kept the archives of images in "+cfg.ArchiveDir())
		}
		if !slices.Equal(said, want) {
			t.Errorf("said %q, want %q", said, want)
		}
		if _, err := os.Stat(archive); (err == nil) != mine {
			t.Errorf("the archive: %v", err)
		}
		if _, err := os.Stat(filepath.Join(cfg.DataDir, "etcd")); err == nil {
			t.Error("the cluster is still there")
		}
		if _, err := os.Stat(cfg.DataDir); (err == nil) != mine {
			t.Errorf("the data directory: %v", err)
		}
	}
}
