package engines

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

const ctrImage = "docker.io/library/busybox:latest"

// containerd is one with directories of its own, and its command line.
type containerd struct {
	place
	ctr []string
}

func startContainerd(t *testing.T) *containerd {
	t.Helper()
	c := &containerd{place: prepare(t, ctrImage, "containerd", "ctr", "containerd-shim-runc-v2", "script")}
	dir := c.dir
	write(t, dir+"/config.toml", `version = 2
root = "`+dir+`/root"
state = "`+dir+`/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "`+dir+`/sock"
[ttrpc]
  address = "`+dir+`/ttrpc"
`)
	// The shims' sockets are in /run, wherever containerd's own files are.
	daemon := c.daemon(t, 0, []string{"/run"}, "containerd", "-c", dir+"/config.toml")
	c.ctr = []string{"nsenter", "-m", "-t", strconv.Itoa(daemon.Process.Pid), "ctr", "-a", dir + "/sock"}
	t.Cleanup(func() { c.remove(t) })
	eventually(t, "containerd to answer", func() bool { _, code := c.try("version"); return code == 0 })
	c.ok(t, "image", "import", "--snapshotter=native", dir+"/busybox.tar")
	return c
}

// remove ends what a failed test left, so that no shim stays.
func (c *containerd) remove(t *testing.T) {
	t.Helper()
	out, _ := c.try("task", "ls", "-q")
	for id := range strings.FieldsSeq(out) {
		c.try("task", "rm", "-f", id)
	}
	c.removeCgroups(t)
}

func (c *containerd) command(args ...string) *exec.Cmd {
	args = append(append([]string{}, c.ctr...), args...)
	return exec.Command(args[0], args[1:]...)
}

func (c *containerd) try(args ...string) (string, int) {
	return cluster.Output(c.command(args...), c.dir)
}

func (c *containerd) want(t *testing.T, code int, args ...string) string {
	t.Helper()
	out, got := c.try(args...)
	if got != code {
		t.Fatalf("ctr %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, out)
	}
	return strings.TrimSpace(out)
}

func (c *containerd) ok(t *testing.T, args ...string) string {
	t.Helper()
	return c.want(t, 0, args...)
}

// run makes a container called id, with flags before a "--" and a command behind it.
func (c *containerd) run(id string, flags ...string) []string {
	args := []string{"run", "--snapshotter=native", "--runc-binary=" + program(), "--cgroup=" + c.cgroup + "/" + id}
	for i, f := range flags {
		if f == "--" {
			return append(append(args, ctrImage, id), flags[i+1:]...)
		}
		args = append(args, f)
	}
	return append(args, ctrImage, id)
}

func TestContainerd(t *testing.T) {
	before := cluster.Snapshot(t)
	t.Run("engine", func(t *testing.T) {
		c := startContainerd(t)
		for _, s := range []struct {
			name string
			do   func(*testing.T, *containerd)
		}{
			{"exit codes", ctrCodes},
			{"a task's life", ctrLife},
			{"a terminal", ctrTerminal},
			{"what a container is given", ctrGiven},
		} {
			t.Run(s.name, func(t *testing.T) { s.do(t, c) })
		}
		expect(t, "tasks that are left", c.ok(t, "task", "ls", "-q"), "")
	})
	cluster.Snapshot(t).Only("TestContainerd").Compare(t, before.Only("TestContainerd"))
}

func ctrCodes(t *testing.T, c *containerd) {
	expect(t, "output", c.ok(t, c.run("out", "--rm", "--", "echo", "hello")...), "hello")
	c.want(t, 7, c.run("code", "--rm", "--", "sh", "-c", "exit 7")...)
	expectIn(t, "a program that is missing", c.want(t, 1, c.run("missing", "--rm", "--", "no-such-program")...), `"no-such-program": executable file not found in $PATH`)
	expectIn(t, "a file that is no program", c.want(t, 1, c.run("text", "--rm", "--", "/etc/passwd")...), "permission denied")
}

func ctrLife(t *testing.T, c *containerd) {
	status := func() string {
		for line := range strings.Lines(c.ok(t, "task", "ls")) {
			if f := strings.Fields(line); f[0] == "life" {
				return f[2]
			}
		}
		return ""
	}
	c.ok(t, c.run("life", "-d", "--memory-limit=67108864", "--", "sh", "-c", `trap "exit 3" TERM; touch /ready; while :; do sleep 0.05; done`)...)
	exec := func(id string, args ...string) []string {
		return append([]string{"task", "exec", "--exec-id=" + id}, args...)
	}
	eventually(t, "the task to be ready", func() bool { _, code := c.try(exec("look", "life", "ls", "/ready")...); return code == 0 })
	expect(t, "status", status(), "RUNNING")
	expect(t, "code and output", c.want(t, 5, exec("a", "life", "sh", "-c", "echo out; exit 5")...), "out")
	expect(t, "user and directory", c.ok(t, exec("b", "--user=33:4", "--cwd=/tmp", "life", "sh", "-c", "id -u; id -g; pwd")...), "33\n4\n/tmp")
	expectIn(t, "a program that is missing", c.want(t, 1, exec("c", "life", "no-such-program")...), "executable file not found")
	c.ok(t, exec("sleep", "-d", "life", "sleep", "1000")...)
	expectIn(t, "processes", c.ok(t, "task", "ps", "life"), "sleep")
	c.ok(t, "task", "kill", "-s", "USR1", "--exec-id=sleep", "life")

	c.ok(t, "task", "pause", "life")
	expect(t, "status", status(), "PAUSED")
	expectIn(t, "exec in a paused task", c.want(t, 1, exec("d", "life", "true")...), "paused")
	c.ok(t, "task", "resume", "life")
	expect(t, "status", status(), "RUNNING")
	expectIn(t, "metrics", c.ok(t, "task", "metrics", "life"), strconv.Itoa(64<<20))
	expectIn(t, "a checkpoint", c.want(t, 1, "task", "checkpoint", "life"), "checkpoint is not supported")

	c.ok(t, "task", "kill", "life")
	eventually(t, "the task to stop", func() bool { return status() == "STOPPED" })
	expectIn(t, "the exit code", c.ok(t, "task", "delete", "life"), "exit code 3")
	c.ok(t, "container", "rm", "life")

	c.ok(t, c.run("forced", "-d", "--", "sleep", "1000")...)
	expectIn(t, "the exit code", c.ok(t, "task", "delete", "-f", "forced"), "exit code 137")
	c.ok(t, "container", "rm", "forced")
}

func ctrTerminal(t *testing.T, c *containerd) {
	args := append(append([]string{}, c.ctr...), c.run("tty", "--rm", "-t", "--", "sh", "-c", "tty; test -c /dev/console && echo console")...)
	for i, a := range args {
		args[i] = "'" + a + "'"
	}
	out, code := cluster.Output(exec.Command("script", "-qec", strings.Join(args, " "), "/dev/null"), c.dir)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	expectIn(t, "output", strings.ReplaceAll(out, "\r", ""), "/dev/pts/0\nconsole\n")
}

func ctrGiven(t *testing.T, c *containerd) {
	volume := c.dir + "/volume"
	if err := os.Mkdir(volume, 0o755); err != nil {
		t.Fatal(err)
	}
	expect(t, "a volume, a variable, a directory", c.ok(t, c.run("given", "--rm", "--env=A=b", "--cwd=/tmp",
		"--mount=type=bind,src="+volume+",dst=/v,options=rbind:ro", "--", "sh", "-c", "echo $A; pwd; touch /v/x 2>/dev/null || echo read-only")...), "b\n/tmp\nread-only")
	expect(t, "a read-only root, a filter", c.ok(t, c.run("root", "--rm", "--read-only", "--seccomp", "--",
		"sh", "-c", "touch /x 2>/dev/null || echo read-only; grep ^Seccomp: /proc/self/status")...), "read-only\nSeccomp:\t2")
	c.want(t, 137, c.run("oom", "--rm", "--memory-limit=8388608", "--", "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1")...)
}
