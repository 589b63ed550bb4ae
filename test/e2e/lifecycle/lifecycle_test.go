// Package lifecycle tests a skiff's own life on a machine: up, twice up, down,
// purge, two side by side, and what it says when it cannot.
package lifecycle

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

func TestUpDownPurge(t *testing.T) {
	before := cluster.Snapshot(t)
	t.Run("life", func(t *testing.T) {
		c := cluster.New(t)
		said := c.Up()
		for _, want := range []string{"store", "apiserver", "kubelet", "is Ready after", c.Dir + "/kubeconfig.yaml"} {
			if !strings.Contains(said, want) {
				t.Errorf("skiff up did not speak of %q:\n%s", want, said)
			}
		}
		first := c.Status()
		if first.State != "Ready" || first.Daemon.PID == 0 {
			t.Errorf("status %+v", first)
		}
		said = c.Up()
		if !strings.Contains(said, "already running") {
			t.Errorf("a second skiff up said %q", said)
		}
		if now := c.Status(); now.Daemon.PID != first.Daemon.PID {
			t.Errorf("the daemon's pid changed from %d to %d", first.Daemon.PID, now.Daemon.PID)
		}
		foreground, err := c.Try("up")
		if err == nil || !strings.Contains(foreground, "already running") {
			t.Errorf("skiff up in the foreground beside another: %v, %q", err, foreground)
		}
		c.Kubectl("create", "deployment", "hello", "--image=skiff.dev/hello:1", "--replicas=3")
		c.Kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
		downAndUp(t, c)
	})
	cluster.Snapshot(t).Compare(t, before)
}

// downAndUp stops everything and starts it again: the cluster's objects stay.
func downAndUp(t *testing.T, c *cluster.Cluster) {
	c.Skiff("down")
	if out, err := c.Try("status"); err == nil || !strings.Contains(out, "not running") || !strings.Contains(out, "skiff up") {
		t.Errorf("status after down: %v, %q", err, out)
	}
	for kind, list := range cluster.Snapshot(t).Only(c.Name) {
		if kind == "processes" && len(list) > 0 {
			t.Errorf("after down these run: %q", list)
		}
	}
	c.Up()
	c.Kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
	if out := c.Skiff("down"); out != "" {
		t.Errorf("down wrote to stdout: %q", out)
	}
	if out, err := c.Try("down"); err != nil {
		t.Errorf("a second down: %v, %s", err, out)
	}
}

func TestTwoSideBySide(t *testing.T) {
	a, b := cluster.Start(t), cluster.Start(t)
	for _, c := range []*cluster.Cluster{a, b} {
		c.Kubectl("create", "deployment", "hello", "--image=skiff.dev/hello:1", "--replicas=2")
		c.Kubectl("expose", "deployment", "hello", "--port=80", "--target-port=8080")
		c.Kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
	}
	out := a.Kubectl("exec", "deployment/hello", "--", "/hello", "get", "http://hello/")
	if !strings.Contains(out, "hello-") {
		t.Errorf("the first skiff's Service said %q", out)
	}
	b.Skiff("down", "--purge")
	out = a.Kubectl("exec", "deployment/hello", "--", "/hello", "get", "http://hello/")
	if !strings.Contains(out, "hello-") {
		t.Errorf("after the second was purged, the first skiff's Service said %q", out)
	}
}

func TestWhatItCannotDoItSays(t *testing.T) {
	c := cluster.New(t)
	before := cluster.Snapshot(t)
	config := filepath.Join(c.Dir, "config.yaml")
	if err := os.WriteFile(config, []byte("api-port: 6443\nnode-nam: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	for name, bad := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"corrupt config":   {[]string{"--config=" + config}, 2, []string{config, "line 2", `"node-nam"`}},
		"unknown flag":     {[]string{"--nonsense"}, 2, []string{"--nonsense", "--help"}},
		"overlapping nets": {[]string{"--cluster-cidr=10.43.0.0/16"}, 2, []string{"cluster-cidr", "service-cidr", "overlap"}},
		"port taken":       {[]string{"--detach", fmt.Sprintf("--api-port=%d", port)}, 1, []string{fmt.Sprint(port), "is taken by", "--api-port"}},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := c.Command("up", bad.args...)
			out, err := cmd.CombinedOutput()
			if err == nil || cmd.ProcessState.ExitCode() != bad.code {
				t.Errorf("exit code %d (%v), want %d", cmd.ProcessState.ExitCode(), err, bad.code)
			}
			for _, w := range bad.want {
				if !strings.Contains(string(out), w) {
					t.Errorf("said %q, want %q in it", out, w)
				}
			}
		})
	}
	cluster.Snapshot(t).Only(c.Name).Compare(t, before.Only(c.Name))
}

func TestNonRootCaller(t *testing.T) {
	c := cluster.New(t)
	// The binary's directory may be closed to others; a copy is not.
	data, err := os.ReadFile(cluster.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/var/tmp", "skiff-nonroot-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "skiff")
	if err := os.WriteFile(binary, data, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"up", "down"} {
		cmd := exec.Command(binary, verb, "--name="+c.Name)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "needs root") || !strings.Contains(string(out), "sudo skiff "+verb) {
			t.Errorf("skiff %s as nobody: %v, %q", verb, err, out)
		}
	}
}

// TestDamagedStore damages the database: the start says so, with the way out,
// and takes back what it had made on the host by then.
func TestDamagedStore(t *testing.T) {
	before := cluster.Snapshot(t)
	c := cluster.Start(t)
	c.Skiff("down")
	cluster.Snapshot(t).Only(c.Name).Compare(t, before.Only(c.Name))
	files, err := filepath.Glob(c.Dir + "/data/etcd/member/snap/db")
	if err != nil || len(files) != 1 {
		t.Fatalf("the database: %v, %v", files, err)
	}
	if err := os.WriteFile(files[0], []byte(strings.Repeat("rubbish ", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := c.Try("up", "--detach", fmt.Sprintf("--api-port=%d", c.APIPort))
	if err == nil {
		t.Fatalf("skiff up over a damaged database:\n%s", out)
	}
	for _, want := range []string{"starting the store", c.Dir + "/data/etcd", "backup"} {
		if !strings.Contains(out, want) {
			t.Errorf("said %q, want %q in it", out, want)
		}
	}
	cluster.Snapshot(t).Only(c.Name).Compare(t, before.Only(c.Name))
}
