// Package cluster starts a real skiff for a test, on names, directories and
// ports of its own, and removes every trace of it at the end.
package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.skiff.dev/skiff/test/testimage"
)

// Cluster is one running skiff.
type Cluster struct {
	t testing.TB
	// Name is the skiff's --name; Dir holds its directories.
	Name, Dir string
	// APIPort is the port of its API server.
	APIPort int
	place   []string
}

// Root is the repository's root.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "..")
}

var built = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("SKIFF_TEST_BINARY"); path != "" {
		return path, nil
	}
	out, err := exec.Command("make", "-C", Root(), "build").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building skiff: %w\n%s", err, out)
	}
	return filepath.Join(Root(), "bin", "skiff"), nil
})

// Binary is the path of bin/skiff, built once per test process.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// New makes a cluster that is not started yet. Its traces are removed when the
// test ends, whatever happens in it.
func New(t testing.TB) *Cluster {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: containers are made of namespaces and cgroups")
	}
	dir, err := os.MkdirTemp("", "skiff-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{t: t, Name: "t" + strings.TrimPrefix(filepath.Base(dir), "skiff-e2e-"), Dir: dir, APIPort: FreePort(t)}
	c.place = []string{
		"--name=" + c.Name, "--data-dir=" + dir + "/data", "--run-dir=" + dir + "/run", "--kubeconfig=" + dir + "/kubeconfig.yaml",
	}
	t.Cleanup(c.remove)
	return c
}

// Start makes a cluster and starts it; more flags are passed to `skiff up`.
func Start(t testing.TB, flags ...string) *Cluster {
	t.Helper()
	c := New(t)
	c.Up(flags...)
	return c
}

// remove purges the skiff and shows its log if the test failed.
func (c *Cluster) remove() {
	if c.t.Failed() {
		log, err := os.ReadFile(filepath.Join(c.Dir, "data", "skiff.log"))
		c.t.Logf("end of the daemon's log (%v):\n%s", err, tail(log, 16<<10))
	}
	out, err := c.Try("down", "--purge")
	if err != nil {
		c.t.Errorf("skiff down --purge: %v\n%s", err, out)
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		c.t.Errorf("removing %s: %v", c.Dir, err)
	}
}

// Up starts the skiff in the background and returns when its node is Ready.
func (c *Cluster) Up(flags ...string) string {
	c.t.Helper()
	args := append([]string{"up", "--detach", "--api-port=" + strconv.Itoa(c.APIPort), "--log-dir=" + c.Dir + "/logs"}, flags...)
	out, err := c.Try(args...)
	if err != nil {
		c.t.Fatalf("skiff up: %v\n%s", err, out)
	}
	return out
}

// Command is a command of this skiff: verb first, then its arguments.
func (c *Cluster) Command(verb string, args ...string) *exec.Cmd {
	all := append([]string{verb}, c.place...)
	return exec.Command(Binary(c.t), append(all, args...)...)
}

// Try runs a verb of this skiff and returns stdout and stderr together.
func (c *Cluster) Try(args ...string) (string, error) {
	cmd := c.Command(args[0], args[1:]...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Skiff runs a verb that has to work and returns its stdout.
func (c *Cluster) Skiff(args ...string) string {
	c.t.Helper()
	cmd := c.Command(args[0], args[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("skiff %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// Kubectl runs kubectl, which has to work, and returns its stdout.
func (c *Cluster) Kubectl(args ...string) string {
	c.t.Helper()
	return c.Skiff(append([]string{"kubectl"}, args...)...)
}

// Apply applies a manifest.
func (c *Cluster) Apply(manifest string) {
	c.t.Helper()
	cmd := c.Command("kubectl", "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(manifest)
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("applying: %v\n%s\n%s", err, out, manifest)
	}
}

// Status is what `skiff status -o json` prints.
type Status struct {
	State      string
	Daemon     struct{ PID int }
	Supervisor struct{ PID int }
	Node       struct{ Name, State, Address string }
	Counts     struct{ Pods, RunningPods, Containers int }
	Memory     struct{ TotalBytes uint64 }
}

// Status asks the daemon for its state.
func (c *Cluster) Status() Status {
	c.t.Helper()
	var s Status
	if err := json.Unmarshal([]byte(c.Skiff("status", "-o", "json")), &s); err != nil {
		c.t.Fatal(err)
	}
	return s
}

// WaitFor runs `kubectl wait` for a condition, for at most a minute.
func (c *Cluster) WaitFor(condition string, what ...string) {
	c.t.Helper()
	args := append([]string{"wait", "--timeout=60s", "--for=" + condition}, what...)
	cmd := c.Command("kubectl", args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		describe, _ := c.Try(append([]string{"kubectl", "describe"}, what...)...)
		c.t.Fatalf("kubectl %s: %v\n%s\n%s", strings.Join(args, " "), err, out, describe)
	}
}

// patience is how long the tests wait for what has to come: long, for a loaded
// machine. How fast it comes is measured by the benchmarks.
const patience = time.Minute

// Until calls f until it returns nil; it is for what announces itself by no
// event, such as a rule in the kernel.
func Until(t testing.TB, f func() error) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %v", patience, err)
		}
		<-ticker.C
	}
}

// Output runs a command and returns all that it wrote, and its exit code or -1
// where it did not end by itself. What it leaves in the background may keep its
// standard output, so that a pipe would not end: a file in dir takes it.
func Output(cmd *exec.Cmd, dir string) (string, int) {
	out, err := os.CreateTemp(dir, "output-")
	if err != nil {
		return err.Error(), -1
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	text, _ := os.ReadFile(out.Name())
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(text), exit.ExitCode()
	}
	if err != nil {
		return err.Error(), -1
	}
	return string(text), 0
}

// FreePort is a TCP port that nobody listens on at this moment.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func tail(b []byte, n int) []byte {
	if len(b) > n {
		return b[len(b)-n:]
	}
	return b
}

// ImportDebian makes an image called name of a program that Debian packages
// (busybox or nginx) and imports it, as a docker-archive through stdin.
func (c *Cluster) ImportDebian(name, program string) {
	c.t.Helper()
	pack := map[string]func(...string) (testimage.Image, error){"busybox": testimage.Busybox, "nginx": testimage.Nginx}[program]
	image, err := pack(name)
	if err != nil {
		c.t.Fatal(err)
	}
	c.Import(image)
}

// Import imports an image as a docker-archive through stdin.
func (c *Cluster) Import(image testimage.Image) {
	c.t.Helper()
	var archive bytes.Buffer
	if err := image.WriteDockerArchive(&archive); err != nil {
		c.t.Fatal(err)
	}
	cmd := c.Command("image", "import", "-")
	cmd.Stdin = &archive
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("skiff image import -: %v\n%s", err, out)
	}
}
