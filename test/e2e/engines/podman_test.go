package engines

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

func TestPodman(t *testing.T) {
	before := cluster.Snapshot(t)
	t.Run("engine", func(t *testing.T) {
		e := start(t)
		for _, c := range []struct {
			name string
			do   func(*testing.T, *engine)
		}{
			{"exit codes", exitCodes},
			{"a container's life", life},
			{"exec", execs},
			{"a terminal", terminal},
			{"files and volumes", files},
			{"a process's rights", rights},
			{"a user namespace", userNamespace},
			{"shared namespaces", sharedNamespaces},
			{"a pod", pod},
			{"limits", limits},
			{"what a container is given", given},
		} {
			t.Run(c.name, func(t *testing.T) { c.do(t, e) })
		}
	})
	cluster.Snapshot(t).Only("TestPodman").Compare(t, before.Only("TestPodman"))
}

func exitCodes(t *testing.T, e *engine) {
	expect(t, "output", e.run(t, "echo hello"), "hello")
	e.runs(t, 7, "exit 7")
	run := []string{"run", "--rm", "--network=none", "--cgroup-parent=" + e.cgroup, busybox}
	// 127 is podman's "not found", 126 its "cannot be invoked": it looks for the runtime's words.
	expectIn(t, "a program that is missing", e.want(t, 127, append(run, "no-such-program")...), "not found")
	expectIn(t, "a directory as program", e.want(t, 126, append(run, "/etc")...), "is a directory")
	expectIn(t, "a file that is no program", e.want(t, 126, append(run, "/etc/passwd")...), "permission denied")
}

func life(t *testing.T, e *engine) {
	status := func() string { return e.ok(t, "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "life") }
	e.background(t, "life", `trap "exit 3" TERM; echo ready; while :; do sleep 0.05; done`)
	expect(t, "status", status(), "running 0")
	expectIn(t, "top", e.ok(t, "top", "life", "args"), "trap")
	e.ok(t, "pause", "life")
	expect(t, "status", status(), "paused 0")
	e.want(t, 255, "exec", "life", "true")
	e.ok(t, "unpause", "life")
	expect(t, "status", status(), "running 0")
	expect(t, "stats", e.ok(t, "stats", "--no-stream", "--format", "{{.Name}}", "life"), "life")
	e.ok(t, "stop", "life")
	expect(t, "status", status(), "exited 3")
	e.ok(t, "start", "life")
	e.ok(t, "kill", "life")
	expect(t, "exit code", e.ok(t, "wait", "life"), "137")
	e.ok(t, "restart", "life")
	expect(t, "status", status(), "running 0")
	e.ok(t, "rm", "-f", "-t", "0", "life")

	e.ok(t, "create", "--name=made", "--network=none", "--cgroup-parent="+e.cgroup, busybox, "sh", "-c", "echo once; exit 4")
	e.ok(t, "init", "made")
	expect(t, "output", e.want(t, 4, "start", "-a", "made"), "once")
	expect(t, "log", e.ok(t, "logs", "made"), "once")
	e.ok(t, "rm", "made")
}

func execs(t *testing.T, e *engine) {
	e.background(t, "exec", "echo ready; exec sleep 1000")
	expect(t, "code and output", e.want(t, 5, "exec", "exec", "sh", "-c", "echo out; exit 5"), "out")
	expect(t, "user, directory, variable", e.ok(t, "exec", "-u", "33:4", "-w", "/tmp", "-e", "A=b", "exec", "sh", "-c", "id -u; id -g; pwd; echo $A"), "33\n4\n/tmp\nb")
	expectIn(t, "a program that is missing", e.want(t, 127, "exec", "exec", "no-such-program"), "not found")
	expect(t, "terminal", e.ok(t, "exec", "-t", "exec", "tty"), "/dev/pts/0")
	e.ok(t, "exec", "-d", "exec", "touch", "/tmp/detached")
	eventually(t, "the detached process", func() bool { _, code := e.try("exec", "exec", "ls", "/tmp/detached"); return code == 0 })
	rights := "grep -E '^(CapEff|Seccomp):' /proc/self/status"
	expectIn(t, "a privileged process", e.ok(t, "exec", "--privileged", "exec", "sh", "-c", rights), "CapEff:\t000001ff")
	expectIn(t, "a process", e.ok(t, "exec", "exec", "sh", "-c", rights), "Seccomp:\t2")
	e.ok(t, "cp", "exec:/etc/passwd", e.dir+"/passwd")
	e.ok(t, "rm", "-f", "-t", "0", "exec")
}

func terminal(t *testing.T, e *engine) {
	expect(t, "terminal", e.run(t, "tty; test -c /dev/console && echo console", "-t"), "/dev/pts/0\nconsole")
}

func files(t *testing.T, e *engine) {
	volume := filepath.Join(e.dir, "volume")
	if err := os.MkdirAll(volume, 0o755); err != nil {
		t.Fatal(err)
	}
	expect(t, "a volume", e.run(t, "echo x >/rw/file; cat /ro/file; touch /ro/file 2>/dev/null || echo read-only",
		"-v", volume+":/rw", "-v", volume+":/ro:ro"), "x\nread-only")
	expect(t, "a read-only root", e.run(t, "touch /file 2>/dev/null || echo read-only; touch /tmp/file /run/file && echo ok", "--read-only"), "read-only\nok")
	expect(t, "copying up", e.run(t, "ls /etc/passwd; touch /etc/file", "--mount=type=tmpfs,destination=/etc,tmpcopyup"), "/etc/passwd")
	expect(t, "a named volume", e.run(t, "ls /etc/passwd", "-v", "named:/etc"), "/etc/passwd")
	expect(t, "an overlay volume", e.run(t, "cat /o/file; touch /o/other", "-v", volume+":/o:O"), "x")
	if _, err := os.Stat(volume + "/other"); err == nil {
		t.Error("a write to an overlay volume reached the host")
	}
	expect(t, "sizes", e.run(t, "df -k /t /dev/shm | awk 'NR>1 {print $2}'", "--tmpfs=/t:size=1m", "--shm-size=2m"), "1024\n2048")
	expect(t, "masked and unmasked", e.run(t, "cat /etc/passwd | wc -c; ls /sys/firmware | wc -l", "--security-opt=mask=/etc/passwd"), "0\n0")
}

func rights(t *testing.T, e *engine) {
	expect(t, "no capabilities", e.run(t, "grep -c 'Cap.*0000000000000000' /proc/self/status; chown 1 /tmp 2>/dev/null || echo refused", "--cap-drop=all"), "5\nrefused")
	expect(t, "one capability", e.run(t, "grep ^CapBnd /proc/self/status", "--cap-drop=all", "--cap-add=net_raw"), "CapBnd:\t0000000000002000")
	expect(t, "no new privileges", e.run(t, "grep ^NoNewPrivs /proc/self/status", "--security-opt=no-new-privileges"), "NoNewPrivs:\t1")
	profile := filepath.Join(e.dir, "seccomp.json")
	write(t, profile, `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}`)
	expectIn(t, "a profile", e.run(t, "mkdir /x 2>&1 || true", "--security-opt=seccomp="+profile), "No space left")
	expect(t, "the user", e.run(t, "id -u; id -g; id -G; umask", "-u", "7:8", "--group-add=5", "--umask=0077"), "7\n8\n8 5\n0077")
	e.run(t, "mkdir /q && mount -t tmpfs none /q", "--privileged")
	expect(t, "personality", e.run(t, "uname -m | grep -c -E 'i686|armv'", "--personality=LINUX32"), "1")
}

func userNamespace(t *testing.T, e *engine) {
	maps := []string{"--uidmap=0:100000:65536", "--gidmap=0:200000:65536"}
	out := e.run(t, "id -u; touch /file; stat -c '%u %g' /file /; cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '; ls -l /dev/null | cut -c1", maps...)
	expect(t, "ids", out, "0\n0 0\n0 0\n 0 100000 65536\n 0 200000 65536\nc")
	expect(t, "the host's network", e.run(t, "id -u; ls -d /sys/class/net/lo", append(maps, "--network=host")...), "0\n/sys/class/net/lo")
	expect(t, "the host's pids and name", e.run(t, "hostname", append(maps, "--pid=host", "--uts=host")...), hostname(t))
	volume := filepath.Join(e.dir, "mapped")
	if err := os.MkdirAll(volume, 0o755); err != nil {
		t.Fatal(err)
	}
	if !idMaps(t, volume) {
		t.Skip("the temporary directory's file system has no id-mapped mounts")
	}
	expect(t, "an id-mapped volume", e.run(t, "stat -c '%u %g' /v", append(maps, "--mount=type=bind,source="+volume+",destination=/v,idmap")...), "0 0")
}

func hostname(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// idMaps tells whether the file system of dir can be id-mapped: the kernel only refuses the namespace, our own, then.
func idMaps(t *testing.T, dir string) bool {
	t.Helper()
	tree, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return false
	}
	defer unix.Close(tree)
	var st unix.Statfs_t
	if unix.Fstatfs(tree, &st) != nil {
		return false
	}
	const ext4, xfs, btrfs, tmpfs = 0xef53, 0x58465342, 0x9123683e, 0x01021994
	return slices.Contains([]int64{ext4, xfs, btrfs, tmpfs}, int64(st.Type))
}

func sharedNamespaces(t *testing.T, e *engine) {
	e.background(t, "first", "echo ready; exec sleep 1000", "--uidmap=0:100000:65536", "--hostname=first")
	join := func(kinds ...string) (flags []string) {
		for _, k := range kinds {
			flags = append(flags, "--"+k+"=container:first")
		}
		return flags
	}
	expect(t, "the user namespace alone", e.run(t, "cat /proc/self/uid_map | tr -s ' '", join("userns")...), "0 100000 65536")
	expect(t, "all", e.run(t, "hostname; ps | grep -c '[s]leep 1000'", join("userns", "network", "ipc", "pid", "uts")...), "first\n1")
	expect(t, "all but the user namespace", e.run(t, "hostname; ps | grep -c '[s]leep 1000'", join("network", "ipc", "pid", "uts")...), "first\n1")
	e.ok(t, "rm", "-f", "-t", "0", "first")
}

func pod(t *testing.T, e *engine) {
	if dir := strayController(); dir != "" {
		t.Skipf("%s is no controller's, which podman does not see", dir)
	}
	e.ok(t, "pod", "create", "--name=pod", "--network=none", "--cgroup-parent="+e.cgroup, "--infra-image="+busybox, "--infra-command=sleep 1000")
	e.ok(t, "run", "-d", "--pod=pod", "--name=inpod", busybox, "sleep", "1000")
	expect(t, "name", e.ok(t, "run", "--rm", "--pod=pod", busybox, "hostname"), "pod")
	e.ok(t, "pod", "stop", "-t", "0", "pod")
	e.ok(t, "pod", "rm", "-f", "-t", "0", "pod")
}

func limits(t *testing.T, e *engine) {
	e.background(t, "limits", "echo ready; exec sleep 1000", "--memory=64m", "--pids-limit=50", "--cpus=0.5")
	read := func(v1, v2 string) string {
		return e.ok(t, "exec", "limits", "sh", "-c", "cat /sys/fs/cgroup/"+v1+" 2>/dev/null || cat /sys/fs/cgroup/"+v2)
	}
	expect(t, "memory", read("memory/memory.limit_in_bytes", "memory.max"), strconv.Itoa(64<<20))
	expect(t, "processes", read("pids/pids.max", "pids.max"), "50")
	expectIn(t, "cpu", read("cpu/cpu.cfs_quota_us", "cpu.max"), "50000")
	e.ok(t, "update", "--memory=32m", "limits")
	expect(t, "memory after an update", read("memory/memory.limit_in_bytes", "memory.max"), strconv.Itoa(32<<20))
	e.ok(t, "rm", "-f", "-t", "0", "limits")
	expect(t, "the cgroup namespace", e.run(t, "cut -d: -f3 /proc/self/cgroup | sort -u", "--cgroupns=private"), "/")
}

func given(t *testing.T, e *engine) {
	expect(t, "sysctls and limits", e.run(t, "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax; ulimit -n; hostname",
		"--sysctl=net.ipv4.ip_forward=1", "--sysctl=kernel.msgmax=1000", "--ulimit=nofile=100:100", "--hostname=given"), "1\n1000\n100\ngiven")
	expect(t, "devices", e.run(t, "stat -c '%t:%T' /dev/other", "--device=/dev/null:/dev/other"), "1:3")
	expect(t, "the score", e.run(t, "cat /proc/self/oom_score_adj", "--oom-score-adj=500"), "500")
}
