package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/oci"
)

// TestMain lets the test binary play skiff-oci: supervisor and init.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "supervisor":
			os.Exit(Main(os.Args[2:]))
		case "monitor":
			os.Exit(Monitor(os.Args[2:]))
		case "init":
			runtime.LockOSThread()
			oci.InitMain(os.Args[2:])
		}
	}
	os.Exit(m.Run())
}

// node is a supervisor of its own for one test.
type node struct {
	t      testing.TB
	dir    string
	opts   Options
	client *Client
	root   string
	cgroup string
}

func newNode(t testing.TB) *node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containers need root")
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("no static busybox at /bin/busybox (Debian: busybox-static)")
	}
	dir, err := os.MkdirTemp("", "sup")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, dir: dir, root: filepath.Join(dir, "root"), cgroup: fmt.Sprintf("/skiff-test-%d-%s", os.Getpid(), filepath.Base(dir))}
	for _, d := range []string{"bin", "proc", "dev", "sys", "tmp", "etc"} {
		if err := os.MkdirAll(filepath.Join(n.root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(n.root, "bin/busybox"), busybox, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "cat", "echo", "sleep", "yes", "head", "true", "seq", "tty", "stty", "kill", "id", "dd", "tail"} {
		if err := os.Symlink("busybox", filepath.Join(n.root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	n.opts = Options{Socket: filepath.Join(dir, "s.sock"), Dir: filepath.Join(dir, "s"), Exe: func() (*os.File, error) { return os.Open("/proc/self/exe") }}
	n.client, err = Connect(t.Context(), n.opts)
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(n.opts.Dir, "supervisor.log"))
		t.Fatalf("connecting: %v\n%s", err, log)
	}
	t.Cleanup(n.close)
	return n
}

func (n *node) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if c, err := Connect(ctx, n.opts); err != nil {
		n.t.Errorf("connecting at the end: %v", err)
	} else if err := c.Shutdown(ctx, true); err != nil {
		n.t.Errorf("shutting down: %v", err)
	}
	if n.t.Failed() {
		log, _ := os.ReadFile(filepath.Join(n.opts.Dir, "supervisor.log"))
		n.t.Logf("supervisor's log:\n%s", log)
	}
	matches, _ := filepath.Glob("/sys/fs/cgroup/*" + n.cgroup)
	more, _ := filepath.Glob("/sys/fs/cgroup" + n.cgroup)
	for _, m := range append(matches, more...) {
		if err := os.Remove(m); err != nil {
			n.t.Errorf("cgroup left behind: %v", err)
		}
	}
	if err := os.RemoveAll(n.dir); err != nil {
		n.t.Error(err)
	}
}

// spec is a small container that runs args.
func (n *node) spec(id string, args ...string) *specs.Spec {
	return &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}},
		Root:    &specs.Root{Path: n.root},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: n.cgroup + "/" + id,
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.NetworkNamespace},
			},
		},
	}
}

func (n *node) logPath(id string) string { return filepath.Join(n.dir, "logs", id, "0.log") }

// overlay is a fresh writable root over the node's directory.
func (n *node) overlay(id string) *Overlay {
	o := &Overlay{Lower: []string{n.root}, Upper: filepath.Join(n.dir, "rw", id, "upper"), Work: filepath.Join(n.dir, "rw", id, "work")}
	for _, d := range []string{o.Upper, o.Work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			n.t.Fatal(err)
		}
	}
	return o
}

// run creates and starts a container.
func (n *node) run(id string, change func(*CreateRequest), args ...string) Container {
	n.t.Helper()
	req := CreateRequest{ID: id, Spec: n.spec(id, args...), Rootfs: n.overlay(id), Log: LogOptions{Path: n.logPath(id)}, Start: true}
	if change != nil {
		change(&req)
	}
	c, err := n.client.Create(n.ctx(), req)
	if err != nil {
		n.t.Fatalf("creating %s: %v", id, err)
	}
	return c
}

func (n *node) ctx() context.Context {
	ctx, cancel := context.WithTimeout(n.t.Context(), time.Minute)
	n.t.Cleanup(cancel)
	return ctx
}

func (n *node) wait(id string) Exit {
	n.t.Helper()
	exit, err := n.client.Wait(n.ctx(), id)
	if err != nil {
		n.t.Fatalf("waiting for %s: %v", id, err)
	}
	return exit
}

// logged is the text of the container's log, without stamps.
func (n *node) logged(id string) string {
	n.t.Helper()
	data, err := os.ReadFile(n.logPath(id))
	if err != nil {
		n.t.Fatal(err)
	}
	return logText(n.t, data)
}

func logText(t testing.TB, data []byte) string {
	var out strings.Builder
	for line := range strings.Lines(string(data)) {
		if !strings.HasSuffix(line, "\n") {
			break // is being written
		}
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(parts) != 4 {
			t.Fatalf("log line %q is not in CRI format", line)
		}
		if _, err := time.Parse(time.RFC3339Nano, parts[0]); err != nil {
			t.Fatal(err)
		}
		out.WriteString(parts[3])
		if parts[2] == "F" {
			out.WriteByte('\n')
		}
	}
	return out.String()
}

// execOutput runs a command and returns what it printed and its exit code.
func (n *node) execOutput(id string, args ...string) (string, int) {
	n.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		n.t.Fatal(err)
	}
	p, err := n.client.Exec(n.ctx(), ExecRequest{ID: id, Process: &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}}}, [3]*os.File{nil, w, w})
	w.Close()
	if err != nil {
		n.t.Fatalf("exec in %s: %v", id, err)
	}
	data, err := io.ReadAll(r)
	r.Close()
	if err != nil {
		n.t.Fatal(err)
	}
	exit, err := p.Wait(n.ctx())
	if err != nil {
		n.t.Fatal(err)
	}
	return string(data), exit.Code
}

func TestRunsLogsAndTellsTheExitCode(t *testing.T) {
	n := newNode(t)
	n.run("a", nil, "sh", "-c", "echo out; echo err >&2; echo -n rest; exit 7")
	exit := n.wait("a")
	if exit.Code != 7 || exit.Signal != 0 || exit.Unknown || exit.OOMKilled {
		t.Errorf("exit %+v", exit)
	}
	if got := n.logged("a"); !strings.Contains(got, "out\n") || !strings.Contains(got, "err\n") || !strings.Contains(got, "rest") {
		t.Errorf("log %q", got)
	}
	state, err := n.client.Get(n.ctx(), "a")
	if err != nil || state.Phase != PhaseExited || state.Exit.Code != 7 {
		t.Errorf("state %+v, %v", state, err)
	}
	for range 2 {
		if err := n.client.Delete(n.ctx(), "a", false); err != nil {
			t.Error(err)
		}
	}
	if _, err := n.client.Get(n.ctx(), "a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("after delete: %v", err)
	}
}

func TestSignalsExecAndForcedDelete(t *testing.T) {
	n := newNode(t)
	n.run("a", nil, "sleep", "1000")
	if out, code := n.execOutput("a", "sh", "-c", "echo hello; exit 3"); out != "hello\n" || code != 3 {
		t.Errorf("exec: %q, %d", out, code)
	}
	if _, err := n.client.Create(n.ctx(), CreateRequest{ID: "a", Spec: n.spec("a", "true")}); !errors.Is(err, ErrExists) {
		t.Errorf("second create: %v", err)
	}
	if err := n.client.Delete(n.ctx(), "a", false); !errors.Is(err, ErrState) {
		t.Errorf("delete of a running container: %v", err)
	}
	if err := n.client.Signal(n.ctx(), "a", syscall.SIGKILL, false); err != nil {
		t.Error(err)
	}
	if exit := n.wait("a"); exit.Code != 137 || exit.Signal != 9 {
		t.Errorf("exit %+v", exit)
	}
	n.run("b", nil, "sleep", "1000")
	if err := n.client.Delete(n.ctx(), "b", true); err != nil {
		t.Error(err)
	}
}

func TestExecOnATerminal(t *testing.T) {
	n := newNode(t)
	n.run("a", nil, "sleep", "1000")
	p, err := n.client.Exec(n.ctx(), ExecRequest{ID: "a", KillOnClose: true, Process: &specs.Process{
		Args: []string{"sh", "-c", "stty size; read x; echo got $x; exit 4"}, Cwd: "/", Env: []string{"PATH=/bin"}, Terminal: true,
		ConsoleSize: &specs.Box{Width: 90, Height: 33},
	}}, [3]*os.File{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Console.Close()
	if _, err := p.Console.WriteString("ping\n"); err != nil {
		t.Fatal(err)
	}
	exit, err := p.Wait(n.ctx())
	if err != nil || exit.Code != 4 {
		t.Errorf("exit %+v, %v", exit, err)
	}
	var out bytes.Buffer
	_, _ = io.Copy(&out, p.Console) // ends with EIO
	if !strings.Contains(out.String(), "33 90") || !strings.Contains(out.String(), "got ping") {
		t.Errorf("terminal showed %q", out.String())
	}
}

// A signal that the supervisor ignored would be ignored in its containers.
func TestContainersIgnoreNoSignal(t *testing.T) {
	n := newNode(t)
	const none = "SigIgn:\t0000000000000000\n"
	n.run("a", nil, "sleep", "1000")
	if out, _ := n.execOutput("a", "cat", "/proc/self/status"); !strings.Contains(out, none) {
		t.Errorf("exec: %q", out)
	}
	if err := n.client.Delete(n.ctx(), "a", true); err != nil {
		t.Error(err)
	}
	n.run("b", nil, "cat", "/proc/self/status")
	n.wait("b")
	if out := n.logged("b"); !strings.Contains(out, none) {
		t.Errorf("container: %q", out)
	}
}

func TestExecIsKilledWithItsConnection(t *testing.T) {
	n := newNode(t)
	n.run("a", nil, "sleep", "1000")
	r, w, _ := os.Pipe()
	defer r.Close()
	p, err := n.client.Exec(n.ctx(), ExecRequest{ID: "a", KillOnClose: true, Process: &specs.Process{Args: []string{"sleep", "1000"}, Cwd: "/", Env: []string{"PATH=/bin"}}}, [3]*os.File{nil, w, nil})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	_ = r.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the process lives: %v", err)
	}
}

func TestAttachSeesOutputAndGivesInput(t *testing.T) {
	n := newNode(t)
	n.run("a", func(r *CreateRequest) { r.Stdin, r.StdinOnce = true, true }, "sh", "-c", "while read x; do echo got $x; done; echo end; exit 5")
	a, err := n.client.Attach(n.ctx(), AttachRequest{ID: "a", Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	watch, err := n.client.Attach(n.ctx(), AttachRequest{ID: "a", Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	if _, err := a.Stdin.WriteString("one\n"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	k, _ := a.Stdout.Read(buf)
	if string(buf[:k]) != "got one\n" {
		t.Errorf("attached client read %q", buf[:k])
	}
	a.Close() // stdinOnce: end of file for the container
	if exit := n.wait("a"); exit.Code != 5 {
		t.Errorf("exit %+v", exit)
	}
	all, err := io.ReadAll(watch.Stdout)
	if err != nil || string(all) != "got one\nend\n" {
		t.Errorf("second client read %q, %v", all, err)
	}
}

func TestHungClientIsLetGo(t *testing.T) {
	n := newNode(t)
	n.run("a", func(r *CreateRequest) { r.Stdin = true }, "sh", "-c", "read x; dd if=/dev/zero bs=65536 count=16 2>/dev/null; echo done")
	hung, err := n.client.Attach(n.ctx(), AttachRequest{ID: "a", Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	in, err := n.client.Attach(n.ctx(), AttachRequest{ID: "a", Stdin: true})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	_, _ = in.Stdin.WriteString("go\n")
	if exit := n.wait("a"); exit.Code != 0 {
		t.Errorf("exit %+v", exit)
	}
}

func TestFailedStartLeavesNothing(t *testing.T) {
	n := newNode(t)
	_, err := n.client.Create(n.ctx(), CreateRequest{ID: "a", Spec: n.spec("a", "no-such-program"), Rootfs: n.overlay("a"), Start: true})
	if err == nil || !strings.Contains(err.Error(), `"no-such-program": executable file not found in $PATH`) {
		t.Errorf("error %v", err)
	}
	if list, err := n.client.List(n.ctx()); err != nil || len(list) != 0 {
		t.Errorf("list %v, %v", list, err)
	}
	if entries, _ := os.ReadDir(filepath.Join(n.opts.Dir, "containers")); len(entries) != 0 {
		t.Errorf("records left: %v", entries)
	}
	if left, _ := filepath.Glob("/sys/fs/cgroup/*" + n.cgroup + "/a"); len(left) != 0 {
		t.Errorf("cgroups left: %v", left)
	}
}

func TestKilledSupervisorLosesNothing(t *testing.T) {
	n := newNode(t)
	before := n.run("a", nil, "sh", "-c", "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done; sleep 1000")
	n.run("dies", nil, "sh", "-c", "sleep 1000; exit 9")
	info, err := n.client.Info(n.ctx())
	if err != nil {
		t.Fatal(err)
	}
	kill(t, info.PID)
	unwatched, _ := n.pidOf("dies")
	_ = unix.Kill(unwatched, unix.SIGKILL)
	if _, err := Connect(n.ctx(), n.opts); err != nil {
		t.Fatal(err)
	}
	after, err := n.client.Get(n.ctx(), "a")
	if err != nil || after.PID != before.PID || after.Phase != PhaseRunning {
		t.Fatalf("after: %+v, %v; before: %+v", after, err, before)
	}
	if exit := n.wait("dies"); exit.Code == 0 {
		t.Errorf("an exit nobody saw is a success: %+v", exit)
	}
	if out, code := n.execOutput("a", "echo", "x"); out != "x\n" || code != 0 {
		t.Errorf("exec: %q %d", out, code)
	}
	n.eventually(func() bool { return strings.HasSuffix(n.logged("a"), "line 3000\n") })
	var want strings.Builder
	for i := 1; i <= 3000; i++ {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	if n.logged("a") != want.String() {
		t.Errorf("the log has a hole")
	}
}

// TestKilledAgainAndAgain kills the supervisor in the middle of a stream of output, ten times.
func TestKilledAgainAndAgain(t *testing.T) {
	n := newNode(t)
	const lines = 30000
	n.run("a", nil, "sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do i=$((i+1)); echo line $i; done; sleep 1000", lines))
	for i := range 10 {
		mark := fmt.Sprintf("\nline %d\n", (i+1)*lines/12)
		n.eventually(func() bool { return strings.Contains(n.logged("a"), mark) })
		info, err := n.client.Info(n.ctx())
		if err != nil {
			t.Fatal(err)
		}
		kill(t, info.PID)
		if n.client, err = Connect(n.ctx(), n.opts); err != nil {
			t.Fatal(err)
		}
	}
	last := fmt.Sprintf("line %d\n", lines)
	n.eventually(func() bool { return strings.HasSuffix(n.logged("a"), last) })
	for i, line := range strings.Split(strings.TrimSuffix(n.logged("a"), "\n"), "\n") {
		if want := fmt.Sprintf("line %d", i+1); line != want {
			t.Fatalf("line %d of the log is %q", i+1, line)
		}
	}
}

// pidOf reads the record, for when no supervisor answers.
func (n *node) pidOf(id string) (int, error) {
	good, _, err := recordsIn(n.opts.Dir).load()
	for _, rec := range good {
		if rec.ID == id {
			return rec.PID, nil
		}
	}
	return 0, err
}

// kill ends a process and waits until it is gone.
func kill(t testing.TB, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10000)
}

// eventually waits for what no event tells: another program's file.
func (n *node) eventually(ok func() bool) {
	n.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			n.t.Fatal("it did not happen in time")
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // conditions of any kind are asked for
	}
}

func TestEventsTellEverythingAfterAbsence(t *testing.T) {
	n := newNode(t)
	n.run("a", nil, "sh", "-c", "exit 3")
	n.wait("a")
	ctx, cancel := context.WithCancel(n.ctx())
	defer cancel()
	events := make(chan Event, 100)
	go func() { _ = n.client.Events(ctx, func(e Event) { events <- e }) }()
	first := <-events
	if !first.Initial || first.Container.ID != "a" || first.Container.Exit.Code != 3 {
		t.Errorf("first event %+v", first)
	}
	if e := <-events; !e.Synced {
		t.Errorf("second event %+v", e)
	}
	n.run("b", nil, "true")
	for e := range events {
		if e.Container.ID == "b" && e.Container.Phase == PhaseExited {
			break
		}
	}
	if err := n.client.Delete(n.ctx(), "b", false); err != nil {
		t.Fatal(err)
	}
	for e := range events {
		if e.Container.ID == "b" && e.Deleted {
			break
		}
	}
}
