package supervisor

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestRenew replaces a supervisor only by another program.
func TestRenew(t *testing.T) {
	n := newNode(t)
	before := n.run("a", nil, "sleep", "1000")
	if renewed, err := NewClient(n.opts).Renew(n.ctx()); renewed || err != nil {
		t.Errorf("the same program: %v %v", renewed, err)
	}
	// A few bytes behind the end make another file of the same program.
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, append(self, "new"...), 0o755); err != nil {
		t.Fatal(err)
	}
	opts := n.opts
	opts.Exe = func() (*os.File, error) { return os.Open(other) }
	newer := NewClient(opts)
	old, err := newer.Info(n.ctx())
	if err != nil {
		t.Fatal(err)
	}
	if renewed, err := newer.Renew(n.ctx()); !renewed || err != nil {
		t.Fatalf("another program: %v %v", renewed, err)
	}
	info, err := newer.Info(n.ctx())
	if err != nil || info.PID != old.PID || info.Containers != 1 {
		t.Errorf("after: %+v %v, before: %+v", info, err, old)
	}
	if renewed, err := newer.Renew(n.ctx()); renewed || err != nil {
		t.Errorf("once more: %v %v", renewed, err)
	}
	after, err := newer.Get(n.ctx(), "a")
	if err != nil || after.PID != before.PID || after.Phase != PhaseRunning {
		t.Errorf("the container: %+v %v", after, err)
	}
}

func TestUpgradeKeepsEverything(t *testing.T) {
	n := newNode(t)
	before, err := n.client.Info(n.ctx())
	if err != nil {
		t.Fatal(err)
	}
	talker := n.run("talker", nil, "sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; done; sleep 1000")
	n.run("in", func(r *CreateRequest) { r.Stdin, r.StdinOnce = true, true }, "sh", "-c", "while read x; do echo got $x; done; exit 5")
	a, err := n.client.Attach(n.ctx(), AttachRequest{ID: "in", Stdin: true, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	p, err := n.client.Exec(n.ctx(), ExecRequest{ID: "talker", KillOnClose: true, Process: &specs.Process{
		Args: []string{"sh", "-c", "read x; exit $x"}, Cwd: "/", Env: []string{"PATH=/bin"}, Terminal: true,
	}}, [3]*os.File{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Console.Close()
	waited := make(chan Exit, 1)
	go func() {
		exit, _ := n.client.Wait(n.ctx(), "in")
		waited <- exit
	}()
	for range 3 {
		exe, err := os.Open("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		if err := n.client.Upgrade(n.ctx(), exe); err != nil {
			t.Fatal(err)
		}
		exe.Close()
	}
	after, err := n.client.Info(n.ctx())
	if err != nil || after.PID != before.PID || after.Containers != 2 {
		t.Errorf("after: %+v, %v; before: %+v", after, err, before)
	}
	// An attached client, a waiting one and an exec go on.
	_, _ = a.Stdin.WriteString("one\n")
	buf := make([]byte, 100)
	k, _ := a.Stdout.Read(buf)
	if string(buf[:k]) != "got one\n" {
		t.Errorf("attached client read %q", buf[:k])
	}
	a.Close()
	if exit := <-waited; exit.Code != 5 {
		t.Errorf("exit of the one with input: %+v", exit)
	}
	_, _ = p.Console.WriteString("7\n")
	if exit, err := p.Wait(n.ctx()); err != nil || exit.Code != 7 {
		t.Errorf("exec: %+v, %v", exit, err)
	}
	n.eventually(func() bool { return strings.HasSuffix(n.logged("talker"), "line 20000\n") })
	if lines := strings.Count(n.logged("talker"), "\n"); lines != 20000 {
		t.Errorf("%d lines logged", lines)
	}
	if state, err := n.client.Get(n.ctx(), "talker"); err != nil || state.PID != talker.PID {
		t.Errorf("%+v, %v", state, err)
	}
	if err := n.client.Signal(n.ctx(), "talker", syscall.SIGKILL, false); err != nil {
		t.Error(err)
	}
	if exit := n.wait("talker"); exit.Code != 137 {
		t.Errorf("exit %+v", exit)
	}
}

// TestUpgradeWhileAttachedContainerEnds hands on a client that has not read all of a container that has just ended.
func TestUpgradeWhileAttachedContainerEnds(t *testing.T) {
	dir := t.TempDir()
	s, err := newServer(filepath.Join(dir, "s.sock"), filepath.Join(dir, "s"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.runPollers()
	t.Cleanup(func() {
		s.exits.stop()
		s.outs.poll.stop()
	})
	s.resumeEntry(&handoffEntry{Record: record{Container: Container{ID: "a", Phase: PhaseExited}}, PIDFD: -1, Stdin: -1, Console: -1})
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	conns, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	client := os.NewFile(uintptr(conns[1]), "client")
	defer client.Close()
	rest := strings.Repeat("rest ", 20000) // more than a pipe holds
	s.resumeSession(&handoffSession{session: session{Kind: sessionAttach, ID: "a"}, Conn: conns[0], PIDFD: -1,
		Taps: []handoffTap{{Stream: "stdout", FD: pipe[1], Pending: []byte(rest)}}})
	r := os.NewFile(uintptr(pipe[0]), "stdout")
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != rest {
		t.Errorf("the client read %d of %d bytes, %v", len(got), len(rest), err)
	}
}

func TestUpgradeToGarbageChangesNothing(t *testing.T) {
	n := newNode(t)
	n.run("a", nil, "sleep", "1000")
	bad, err := os.CreateTemp(n.dir, "bad")
	if err != nil {
		t.Fatal(err)
	}
	defer bad.Close()
	if err := n.client.Upgrade(n.ctx(), bad); err == nil {
		t.Error("no error")
	}
	if out, code := n.execOutput("a", "echo", "x"); out != "x\n" || code != 0 {
		t.Errorf("exec: %q %d", out, code)
	}
}
