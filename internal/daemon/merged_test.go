package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.skiff.dev/skiff/internal/config"
)

const theirs = `apiVersion: v1
kind: Config
clusters:
- {name: theirs, cluster: {server: "https://example.com"}}
- {name: skiff, cluster: {server: "https://127.0.0.1:6443"}}
contexts:
- {name: theirs, context: {cluster: theirs, user: theirs}}
- {name: skiff, context: {cluster: skiff, user: skiff}}
users:
- {name: theirs, user: {token: abc}}
- {name: skiff, user: {token: def}}
current-context: skiff
`

func TestPurgeTakesOurContextOutAndLeavesTheirs(t *testing.T) {
	dir := t.TempDir()
	cfg := config.Default("")
	cfg.DataDir = dir
	path := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(path, []byte(theirs), 0o640); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := NoteMerged(cfg, path); err != nil {
			t.Fatal(err)
		}
	}
	if err := NoteMerged(cfg, filepath.Join(dir, "gone")); err != nil {
		t.Fatal(err)
	}
	if err := purgeMerged(t.Context(), &cfg); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(data); strings.Contains(text, "skiff") || strings.Contains(text, "def") || !strings.Contains(text, "token: abc") {
		t.Errorf("after the purge the file holds\n%s", text)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
