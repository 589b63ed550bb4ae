// Package engines lets Debian's podman, containerd and Docker use skiff-oci as their runtime, unchanged.
package engines

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/test/e2e/cluster"
	"go.skiff.dev/skiff/test/testimage"
)

// place is what an engine has for itself, so that it sees nothing of the machine's and leaves nothing.
type place struct {
	dir    string
	cgroup string // parent of all cgroups, in each hierarchy
}

// program is the runtime that is tried.
func program() string { return filepath.Join(cluster.Root(), "bin/skiff-oci") }

// prepare makes a place with an archive of one image, busybox.tar. Without the engine's programs it skips.
func prepare(t *testing.T, image string, programs ...string) place {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: containers are made of namespaces and cgroups")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("needs Debian's %s: make deps", programs[0])
		}
	}
	if out, err := exec.Command("make", "-C", cluster.Root(), "bin/skiff-oci").CombinedOutput(); err != nil {
		t.Fatalf("building skiff-oci: %v\n%s", err, out)
	}
	dir := t.TempDir()
	img, err := testimage.Busybox(image)
	if err != nil {
		t.Skip(err)
	}
	var archive bytes.Buffer
	if err := img.WriteDockerArchive(&archive); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/busybox.tar", archive.String())
	return place{dir: dir, cgroup: "/skiff-" + programs[0] + "-" + filepath.Base(filepath.Dir(dir))}
}

// removeCgroups takes away the engine's cgroups, which must be empty soon.
func (p place) removeCgroups(t *testing.T) {
	t.Helper()
	eventually(t, "the cgroups to be empty", func() bool {
		left, _ := filepath.Glob("/sys/fs/cgroup/*" + p.cgroup)
		whole, _ := filepath.Glob("/sys/fs/cgroup" + p.cgroup)
		left = append(left, whole...)
		for _, dir := range left {
			removeCgroup(dir)
		}
		return len(left) == 0
	})
}

// daemon starts an engine's daemon in a mount namespace (and others) of its own, where the directories in hidden are empty,
// and ends it with the test.
func (p place) daemon(t *testing.T, namespaces uintptr, hidden []string, command ...string) *exec.Cmd {
	t.Helper()
	log, err := os.Create(p.dir + "/daemon.log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	const script = `while [ "$1" != -- ]; do mount -t tmpfs none "$1" || exit; shift; done; shift; exec "$@"`
	args := append(append([]string{"-c", script, "sh"}, hidden...), "--")
	cmd := exec.Command("sh", append(args, command...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS | namespaces}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		_ = cmd.Wait()
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("the daemon's log:\n%s", text)
		}
	})
	return cmd
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func expectIn(t *testing.T, what, got, want string) {
	t.Helper()
	if !strings.Contains(got, want) {
		t.Errorf("%s: %q, want %q in it", what, got, want)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// removeCgroup removes a directory and those below it; files in it are the kernel's. It is refused while a process is left.
func removeCgroup(dir string) {
	if !isCgroup(dir) { // podman's own work, in a directory that it took for a controller's
		_ = os.RemoveAll(dir)
		return
	}
	below, _ := filepath.Glob(dir + "/*/cgroup.procs")
	for _, f := range below {
		removeCgroup(filepath.Dir(f))
	}
	_ = unix.Rmdir(dir)
}

func isCgroup(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && (st.Type == unix.CGROUP_SUPER_MAGIC || st.Type == unix.CGROUP2_SUPER_MAGIC)
}

// eventually waits for what no event announces.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Errorf("waited in vain for %s", what)
			return
		}
		time.Sleep(20 * time.Millisecond) //nolint:forbidigo // conditions of any kind are asked for
	}
}
