package engines

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

const busybox = "localhost/busybox:latest"

// engine is a podman.
type engine struct {
	place
	flags []string
	env   []string
}

// start makes an engine that has one image, busybox.
func start(t *testing.T) *engine {
	t.Helper()
	e := &engine{place: prepare(t, busybox, "podman")}
	dir := e.dir
	// vfs needs no file system of a certain kind below the temporary directory.
	e.flags = []string{
		"--runtime=" + program(), "--root=" + dir + "/root", "--runroot=" + dir + "/run",
		"--tmpdir=" + dir + "/tmp", "--cgroup-manager=cgroupfs", "--storage-driver=vfs", "--events-backend=none",
	}
	conf := dir + "/containers.conf"
	write(t, conf, "")
	e.env = append(os.Environ(), "CONTAINERS_CONF="+conf, "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	t.Cleanup(func() { e.remove(t) })
	e.ok(t, "load", "-q", "-i", dir+"/busybox.tar")
	return e
}

// remove ends all containers, whatever happened to the test, and takes away what podman and conmon leave.
func (e *engine) remove(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{{"pod", "rm", "-f", "-a", "-t", "0"}, {"rm", "-f", "-a", "-t", "0"}} {
		if out, code := e.try(args...); code != 0 {
			t.Errorf("podman %s: %d\n%s", strings.Join(args, " "), code, out)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if place := strings.Fields(line)[1]; strings.HasPrefix(place, e.dir+"/") {
			if err := unix.Unmount(place, unix.MNT_DETACH); err != nil {
				t.Errorf("unmounting %s: %v", place, err)
			}
		}
	}
	e.removeCgroups(t)
}

// strayController finds a directory beside those of mounted controllers: podman makes a pod's cgroup there too, and cannot
// remove it again.
func strayController() string {
	if isCgroup("/sys/fs/cgroup") {
		return ""
	}
	entries, _ := os.ReadDir("/sys/fs/cgroup")
	for _, e := range entries {
		if dir := filepath.Join("/sys/fs/cgroup", e.Name()); e.IsDir() && !isCgroup(dir) {
			return dir
		}
	}
	return ""
}

// try runs podman and returns what it wrote and its exit code, or -1 where it did not end by itself.
func (e *engine) try(args ...string) (string, int) {
	cmd := exec.Command("podman", append(append([]string{}, e.flags...), args...)...)
	cmd.Env = e.env
	return cluster.Output(cmd, e.dir)
}

// want runs podman, which must end with code.
func (e *engine) want(t *testing.T, code int, args ...string) string {
	t.Helper()
	out, got := e.try(args...)
	if got != code {
		t.Fatalf("podman %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, out)
	}
	return quiet(out)
}

func (e *engine) ok(t *testing.T, args ...string) string {
	t.Helper()
	return e.want(t, 0, args...)
}

// quiet drops the one warning that is a fact of the machine: podman raises limits, which takes CAP_SYS_RESOURCE.
func quiet(out string) string {
	var kept []string
	for line := range strings.Lines(out) {
		if !strings.Contains(line, "CAP_SYS_RESOURCE") {
			kept = append(kept, line)
		}
	}
	return strings.TrimSpace(strings.ReplaceAll(strings.Join(kept, ""), "\r", ""))
}

// run runs a shell script in a new container with flags, and returns what it wrote.
func (e *engine) run(t *testing.T, script string, flags ...string) string {
	t.Helper()
	return e.runs(t, 0, script, flags...)
}

func (e *engine) runs(t *testing.T, code int, script string, flags ...string) string {
	t.Helper()
	args := append([]string{"run", "--rm", "--cgroup-parent=" + e.cgroup}, flags...)
	// podman takes one network only.
	if !slices.ContainsFunc(flags, func(f string) bool { return strings.HasPrefix(f, "--network=") }) {
		args = append(args, "--network=none")
	}
	return e.want(t, code, append(args, busybox, "sh", "-c", script)...)
}

// background starts a container that runs a shell script, and waits for the line "ready" in its log.
func (e *engine) background(t *testing.T, name, script string, flags ...string) {
	t.Helper()
	args := append([]string{"run", "-d", "--name=" + name, "--network=none", "--cgroup-parent=" + e.cgroup}, flags...)
	e.ok(t, append(args, busybox, "sh", "-c", script)...)
	eventually(t, name+" to be ready", func() bool {
		log, code := e.try("logs", name)
		return code == 0 && strings.Contains(log, "ready")
	})
}
