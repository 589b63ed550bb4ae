package engines

import (
	"encoding/json"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

// docker is a daemon with directories, a socket and a network namespace of its own, and its command line.
type docker struct {
	place
	env []string
}

func startDocker(t *testing.T) *docker {
	t.Helper()
	d := &docker{place: prepare(t, "busybox:latest", "docker", "dockerd", "containerd", "containerd-shim-runc-v2", "script")}
	dir := d.dir
	socket := "unix://" + dir + "/sock"
	config, err := json.Marshal(map[string]any{
		"runtimes": map[string]any{"skiff": map[string]any{"path": program()}}, "default-runtime": "skiff",
		"data-root": dir + "/root", "exec-root": dir + "/exec", "pidfile": dir + "/pid", "hosts": []string{socket},
		"storage-driver": "vfs", "cgroup-parent": d.cgroup, "exec-opts": []string{"native.cgroupdriver=cgroupfs"},
		"bridge": "none", "iptables": false, "ip6tables": false, "ip-forward": false, "ip-masq": false,
	})
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/daemon.json", string(config))
	d.env = append(os.Environ(), "DOCKER_HOST="+socket, "DOCKER_CONFIG="+dir+"/config", "DOCKER_BUILDKIT=0")
	d.daemon(t, unix.CLONE_NEWNET, []string{"/run", "/etc/docker"}, "dockerd", "--config-file="+dir+"/daemon.json")
	t.Cleanup(func() { d.remove(t) })
	eventually(t, "dockerd to answer", func() bool { _, code := d.try("version"); return code == 0 })
	d.ok(t, "load", "-q", "-i", dir+"/busybox.tar")
	return d
}

// remove ends all containers, whatever happened to the test.
func (d *docker) remove(t *testing.T) {
	t.Helper()
	out, _ := d.try("ps", "-aq")
	for id := range strings.FieldsSeq(out) {
		d.try("rm", "-f", id)
	}
	d.removeCgroups(t)
}

func (d *docker) try(args ...string) (string, int) {
	cmd := exec.Command("docker", args...)
	cmd.Env = d.env
	out, code := cluster.Output(cmd, d.dir)
	return out, code
}

func (d *docker) want(t *testing.T, code int, args ...string) string {
	t.Helper()
	out, got := d.try(args...)
	if got != code {
		t.Fatalf("docker %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, out)
	}
	var kept []string
	for line := range strings.Lines(out) { // a fact of the network namespace
		if !strings.Contains(line, "IPv4 forwarding is disabled") {
			kept = append(kept, line)
		}
	}
	return strings.TrimSpace(strings.Join(kept, ""))
}

func (d *docker) ok(t *testing.T, args ...string) string {
	t.Helper()
	return d.want(t, 0, args...)
}

// run runs a shell script in a new container with flags.
func (d *docker) run(t *testing.T, script string, flags ...string) string {
	t.Helper()
	return d.ok(t, append(append([]string{"run", "--rm"}, flags...), "busybox", "sh", "-c", script)...)
}

// terminal runs docker with a terminal.
func (d *docker) terminal(t *testing.T, args ...string) string {
	t.Helper()
	for i, a := range args {
		args[i] = "'" + a + "'"
	}
	cmd := exec.Command("script", "-qec", "docker "+strings.Join(args, " "), "/dev/null")
	cmd.Env = d.env
	out, code := cluster.Output(cmd, d.dir)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	return strings.ReplaceAll(out, "\r", "")
}

func TestDocker(t *testing.T) {
	before := cluster.Snapshot(t)
	t.Run("engine", func(t *testing.T) {
		d := startDocker(t)
		for _, s := range []struct {
			name string
			do   func(*testing.T, *docker)
		}{
			{"exit codes", dockerCodes},
			{"a container's life", dockerLife},
			{"exec", dockerExec},
			{"a terminal", dockerTerminal},
			{"limits", dockerLimits},
			{"what a container is given", dockerGiven},
			{"shared namespaces", dockerShared},
			{"a build", dockerBuild},
		} {
			t.Run(s.name, func(t *testing.T) { s.do(t, d) })
		}
	})
	cluster.Snapshot(t).Only("TestDocker").Compare(t, before.Only("TestDocker"))
}

func dockerCodes(t *testing.T, d *docker) {
	expect(t, "output", d.run(t, "echo hello"), "hello")
	run := []string{"run", "--rm", "busybox"}
	d.want(t, 7, append(run, "sh", "-c", "exit 7")...)
	// 127 is Docker's "not found", 126 its "cannot be invoked": it looks for the runtime's words.
	expectIn(t, "a program that is missing", d.want(t, 127, append(run, "no-such-program")...), "executable file not found in $PATH")
	expectIn(t, "a file that is no program", d.want(t, 126, append(run, "/etc/passwd")...), "permission denied")
	expectIn(t, "a directory as program", d.want(t, 126, append(run, "/etc")...), "is a directory")
}

func dockerLife(t *testing.T, d *docker) {
	status := func() string { return d.ok(t, "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "life") }
	d.ok(t, "run", "-d", "--name=life", "busybox", "sh", "-c", `trap "exit 3" TERM; echo ready; while :; do sleep 0.05; done`)
	ready := func() bool { log, code := d.try("logs", "life"); return code == 0 && strings.Contains(log, "ready") }
	eventually(t, "life to be ready", ready)
	expect(t, "status", status(), "running 0")
	expectIn(t, "top", d.ok(t, "top", "life"), "trap")
	expect(t, "stats", d.ok(t, "stats", "--no-stream", "--format", "{{.Name}}", "life"), "life")
	d.ok(t, "pause", "life")
	expect(t, "status", status(), "paused 0")
	d.want(t, 1, "exec", "life", "true")
	d.ok(t, "unpause", "life")
	d.ok(t, "stop", "life")
	expect(t, "status", status(), "exited 3")
	d.ok(t, "start", "life")
	d.ok(t, "restart", "-t", "0", "life")
	expect(t, "status", status(), "running 0")
	d.ok(t, "kill", "life")
	expect(t, "exit code", d.ok(t, "wait", "life"), "137")
	d.ok(t, "rm", "life")

	d.ok(t, "create", "--name=made", "busybox", "sh", "-c", "echo once; exit 4")
	expect(t, "output", d.want(t, 4, "start", "-a", "made"), "once")
	d.ok(t, "rm", "made")
}

func dockerExec(t *testing.T, d *docker) {
	d.ok(t, "run", "-d", "--name=exec", "busybox", "sleep", "1000")
	expect(t, "code and output", d.want(t, 5, "exec", "exec", "sh", "-c", "echo out; exit 5"), "out")
	expect(t, "user, directory, variable", d.ok(t, "exec", "-u", "33:4", "-w", "/tmp", "-e", "A=b", "exec", "sh", "-c", "id -u; id -g; pwd; echo $A"), "33\n4\n/tmp\nb")
	expectIn(t, "a program that is missing", d.want(t, 126, "exec", "exec", "no-such-program"), "executable file not found in $PATH")
	rights := "grep -E '^(CapEff|Seccomp):' /proc/self/status"
	expectIn(t, "a process", d.ok(t, "exec", "exec", "sh", "-c", rights), "CapEff:\t00000000a80425fb\nSeccomp:\t2")
	d.ok(t, "exec", "--privileged", "exec", "sh", "-c", rights)
	d.ok(t, "cp", "exec:/etc/passwd", d.dir+"/passwd")
	expectIn(t, "a terminal", d.terminal(t, "exec", "-it", "exec", "tty"), "/dev/pts/0")
	d.ok(t, "rm", "-f", "exec")
}

func dockerTerminal(t *testing.T, d *docker) {
	expectIn(t, "output", d.terminal(t, "run", "--rm", "-it", "busybox", "sh", "-c", "tty; test -c /dev/console && echo console"), "/dev/pts/0\nconsole\n")
}

func dockerLimits(t *testing.T, d *docker) {
	d.ok(t, "run", "-d", "--name=limits", "--memory=64m", "--pids-limit=50", "--cpus=0.5", "busybox", "sleep", "1000")
	read := func(v1, v2 string) string {
		return d.ok(t, "exec", "limits", "sh", "-c", "cat /sys/fs/cgroup/"+v1+" 2>/dev/null || cat /sys/fs/cgroup/"+v2)
	}
	expect(t, "memory", read("memory/memory.limit_in_bytes", "memory.max"), strconv.Itoa(64<<20))
	expect(t, "processes", read("pids/pids.max", "pids.max"), "50")
	expectIn(t, "cpu", read("cpu/cpu.cfs_quota_us", "cpu.max"), "50000")
	d.ok(t, "update", "--memory=32m", "--memory-swap=64m", "--pids-limit=40", "--cpuset-cpus=0", "limits")
	expect(t, "memory after an update", read("memory/memory.limit_in_bytes", "memory.max"), strconv.Itoa(32<<20))
	expect(t, "processes after an update", read("pids/pids.max", "pids.max"), "40")
	expect(t, "CPUs after an update", read("cpuset/cpuset.cpus", "cpuset.cpus"), "0")
	d.ok(t, "rm", "-f", "limits")
	d.want(t, 137, "run", "--rm", "--memory=8m", "busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1")
}

func dockerGiven(t *testing.T, d *docker) {
	expect(t, "sysctls, limits, names, devices", d.run(t, "cat /proc/sys/net/ipv4/ip_forward; ulimit -n; hostname; stat -c '%t:%T' /dev/other; cat /proc/self/oom_score_adj",
		"--sysctl=net.ipv4.ip_forward=1", "--ulimit=nofile=100:100", "--hostname=given", "--device=/dev/null:/dev/other", "--oom-score-adj=500"), "1\n100\ngiven\n1:3\n500")
	expect(t, "a read-only root, a tmpfs, a volume", d.run(t, "touch /x 2>/dev/null || echo read-only; df -k /t | awk 'NR>1 {print $2}'; ls /etc/passwd",
		"--read-only", "--tmpfs=/t:size=1m", "-v", "named:/etc"), "read-only\n1024\n/etc/passwd")
	expect(t, "no capabilities", d.run(t, "grep -c 'Cap.*0000000000000000' /proc/self/status; grep ^NoNewPrivs /proc/self/status", "--cap-drop=all", "--security-opt=no-new-privileges"), "5\nNoNewPrivs:\t1")
	d.run(t, "mkdir /q && mount -t tmpfs none /q", "--privileged")
}

func dockerShared(t *testing.T, d *docker) {
	d.ok(t, "run", "-d", "--init", "--name=first", "busybox", "sleep", "1000")
	expect(t, "another's namespaces", d.run(t, "ps | grep -c '[s]leep 1000$'", "--network=container:first", "--pid=container:first", "--ipc=private"), "2")
	expect(t, "the host's", d.run(t, "hostname", "--pid=host", "--uts=host", "--ipc=host", "--network=host"), hostname(t))
	d.ok(t, "rm", "-f", "first")
}

func dockerBuild(t *testing.T, d *docker) {
	dir := t.TempDir()
	write(t, dir+"/Dockerfile", "FROM busybox\nRUN echo built >/built\nUSER 33\nRUN id -u\n")
	expectIn(t, "output", d.ok(t, "build", "-t", "built", dir), "\n33\n")
	expect(t, "what was built", d.ok(t, "run", "--rm", "built", "cat", "/built"), "built")
}
