// Package scripts runs the whole binary, one script per verb (testdata/*.txtar),
// against one cluster that all scripts share.
package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"go.skiff.dev/skiff/test/e2e/cluster"
	"go.skiff.dev/skiff/test/testimage"
)

func TestScripts(t *testing.T) {
	c := cluster.Start(t)
	bin := filepath.Dir(cluster.Binary(t))
	links := t.TempDir()
	if err := os.Symlink(filepath.Join(bin, "skiff"), filepath.Join(links, "kubectl")); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(c.Dir, "busybox.tar")
	writeArchive(t, archive)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", links+string(os.PathListSeparator)+bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("SKIFF_NAME", c.Name)
			env.Setenv("SKIFF_DATA_DIR", c.Dir+"/data")
			env.Setenv("SKIFF_RUN_DIR", c.Dir+"/run")
			env.Setenv("SKIFF_KUBECONFIG", c.Dir+"/kubeconfig.yaml")
			env.Setenv("ARCHIVE", archive)
			env.Setenv("HOME", env.WorkDir)
			env.Defer(func() { deleteContainers(filepath.Join(bin, "skiff-oci"), filepath.Join(env.WorkDir, "state")) })
			return nil
		},
	})
}

// deleteContainers ends what a script that failed has left in the background.
func deleteContainers(runtime, state string) {
	entries, _ := os.ReadDir(state)
	for _, e := range entries {
		_ = exec.Command(runtime, "--root", state, "delete", "--force", e.Name()).Run()
	}
}

func writeArchive(t *testing.T, path string) {
	t.Helper()
	image, err := testimage.Busybox("scripts/busybox:1")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := image.WriteDockerArchive(file); err != nil {
		t.Fatal(err)
	}
}
