package supervisor

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/pidfd"
)

// TestTerminalOutlivesSupervisor kills and replaces the supervisor of a container with a terminal.
func TestTerminalOutlivesSupervisor(t *testing.T) {
	n := newNode(t)
	before := n.run("a", func(r *CreateRequest) { r.Stdin = true; r.Spec.Process.Terminal = true }, "sh", "-c", "stty -echo; while read x; do echo got $x $(stty size); done; exit 6")
	ask := func(what string, want string) {
		t.Helper()
		a, err := n.client.Attach(n.ctx(), AttachRequest{ID: "a", Stdin: true, Stdout: true})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		if a.Stdin == nil {
			t.Fatal("no terminal")
		}
		if _, err := a.Stdin.WriteString(what + "\n"); err != nil {
			t.Fatal(err)
		}
		n.eventually(func() bool { return strings.Contains(n.logged("a"), "got "+what+" "+want) })
	}
	resize := func(width, height uint16) {
		t.Helper()
		if err := n.client.Resize(n.ctx(), "a", width, height); err != nil {
			t.Fatal(err)
		}
	}
	resize(80, 25)
	ask("one", "25 80")
	for i := range 2 {
		info, err := n.client.Info(n.ctx())
		if err != nil {
			t.Fatal(err)
		}
		kill(t, info.PID)
		if n.client, err = Connect(n.ctx(), n.opts); err != nil {
			t.Fatal(err)
		}
		if after, err := n.client.Get(n.ctx(), "a"); err != nil || after.PID != before.PID || after.Phase != PhaseRunning {
			t.Fatalf("%+v, %v", after, err)
		}
		resize(90+uint16(i), 30)
		ask(fmt.Sprint("after-kill-", i), fmt.Sprint("30 ", 90+i))
	}
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	if err := n.client.Upgrade(n.ctx(), exe); err != nil {
		t.Fatal(err)
	}
	ask("renewed", "30 91")
	good, _, err := (records{n.opts.Dir + "/containers"}).load()
	if err != nil || len(good) != 1 || good[0].Keeper == 0 {
		t.Fatalf("%+v, %v", good, err)
	}
	keeper, err := pidfd.Open(good[0].Keeper, good[0].KeeperStart)
	if err != nil {
		t.Fatal(err)
	}
	defer keeper.Close()
	if err := n.client.Signal(n.ctx(), "a", unix.SIGKILL, true); err != nil {
		t.Fatal(err)
	}
	n.wait("a")
	n.eventually(func() bool { return !pidfd.Alive(keeper) })
}

// TestKeeperIsReaped leaves no zombie, also not after an upgrade.
func TestKeeperIsReaped(t *testing.T) {
	n := newNode(t)
	info, err := n.client.Info(n.ctx())
	if err != nil {
		t.Fatal(err)
	}
	n.run("a", func(r *CreateRequest) { r.Stdin = true; r.Spec.Process.Terminal = true }, "sh")
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	if err := n.client.Upgrade(n.ctx(), exe); err != nil {
		t.Fatal(err)
	}
	if err := n.client.Delete(n.ctx(), "a", true); err != nil {
		t.Fatal(err)
	}
	n.eventually(func() bool {
		tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", info.PID))
		for _, task := range tasks {
			children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", info.PID, task.Name()))
			if err != nil || len(children) > 0 {
				return false
			}
		}
		return true
	})
}

// TestResizeLeavesTerminalNonBlocking: all that have a terminal open share its mode, and who reads it must not wait.
func TestResizeLeavesTerminalNonBlocking(t *testing.T) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	e := &entry{console: os.NewFile(uintptr(fd), "console")}
	defer e.console.Close()
	if err := e.resize(80, 25); err != nil {
		t.Fatal(err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
		t.Errorf("flags %x, %v", flags, err)
	}
}
