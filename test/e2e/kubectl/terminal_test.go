package kubectl

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

// terminal is a command that runs on a terminal of its own.
type terminal struct {
	t      *testing.T
	cmd    *exec.Cmd
	master *os.File
	done   chan struct{}

	mu  sync.Mutex
	out bytes.Buffer
}

func open(t *testing.T, cmd *exec.Cmd, rows, columns uint16) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, cmd: cmd, master: master, done: make(chan struct{})}
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	term.resize(rows, columns)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go term.read()
	return term
}

func (x *terminal) read() {
	defer close(x.done)
	buf := make([]byte, 4096)
	for {
		n, err := x.master.Read(buf)
		x.mu.Lock()
		x.out.Write(buf[:n])
		x.mu.Unlock()
		if err != nil {
			return // EIO: the last one closed it
		}
	}
}

func (x *terminal) resize(rows, columns uint16) {
	x.t.Helper()
	if err := unix.IoctlSetWinsize(int(x.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		x.t.Fatal(err)
	}
}

func (x *terminal) text() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.out.String()
}

// say types text and waits until the terminal shows want after that. With
// nothing to type it may have been shown before.
func (x *terminal) say(text, want string) {
	x.t.Helper()
	from := len(x.text())
	if text == "" {
		from = 0
	}
	if _, err := x.master.WriteString(text); err != nil {
		x.t.Fatal(err)
	}
	cluster.Until(x.t, func() error {
		if shown := x.text(); !strings.Contains(shown[from:], want) {
			return fmt.Errorf("typed %q, shows %q, want %q", text, shown[from:], want)
		}
		return nil
	})
}

// end waits for the command and returns its exit code.
func (x *terminal) end() int {
	x.t.Helper()
	timer := time.AfterFunc(20*time.Second, func() { _ = x.cmd.Process.Kill() })
	defer timer.Stop()
	err := x.cmd.Wait()
	<-x.done
	x.master.Close()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		x.t.Fatal(err)
	}
	return x.cmd.ProcessState.ExitCode()
}

// converse does what a person does on a terminal: looks, resizes, interrupts,
// leaves.
func converse(t *testing.T, x *terminal) {
	t.Helper()
	x.say("", "# ")
	x.say("echo size $(stty size)\n", "size 31 97")
	x.resize(45, 66)
	cluster.Until(t, func() error {
		before := len(x.text())
		x.say("echo size $(stty size).\n", ".\r\n")
		if shown := x.text()[before:]; !strings.Contains(shown, "size 45 66") {
			return fmt.Errorf("after the resize: %q", shown)
		}
		return nil
	})
	x.say("echo awake; sleep 1000\n", "awake\r\n")
	x.say("\x03", "# ")
	x.say("exit 5\n", "exit 5")
}

func terminals(t *testing.T, c *cluster.Cluster) {
	c.Apply(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"tty"},"spec":{"terminationGracePeriodSeconds":0,"restartPolicy":"Never",` +
		`"containers":[{"name":"main","image":"kubectl/busybox:1","command":["sh"],"tty":true,"stdin":true}]}}`)
	c.WaitFor("condition=Ready", "pod/tty")
	t.Run("exec", func(t *testing.T) {
		x := open(t, c.Command("kubectl", "exec", "-it", "tty", "--", "sh"), 31, 97)
		converse(t, x)
		if code := x.end(); code != 5 {
			t.Errorf("the shell's exit code 5 came back as %d\n%s", code, x.text())
		}
	})
	t.Run("attach", func(t *testing.T) {
		x := open(t, c.Command("kubectl", "attach", "-it", "tty"), 31, 97)
		x.say("\n", "# ")
		converse(t, x)
		x.end()
		c.WaitFor("jsonpath={.status.containerStatuses[0].state.terminated.exitCode}=5", "pod/tty")
	})
	t.Run("run and remove", func(t *testing.T) {
		x := open(t, c.Command("kubectl", "run", "once", "-it", "--rm", "--restart=Never", "--image=kubectl/busybox:1", "--", "sh"), 31, 97)
		x.say("", "command prompt")
		x.say("\n", "# ")
		converse(t, x)
		if code := x.end(); code != 5 {
			t.Errorf("the shell's exit code 5 came back as %d\n%s", code, x.text())
		}
		if out, err := c.Try("kubectl", "get", "pod", "once"); err == nil {
			t.Errorf("the pod is still there: %s", out)
		}
	})
	t.Run("an interrupt ends a command that waits", func(t *testing.T) {
		x := open(t, c.Command("kubectl", "get", "--raw", "/api/v1/pods?watch=1"), 31, 97)
		x.say("", `"ADDED"`)
		x.say("\x03", "^C")
		if code := x.end(); code == 0 {
			t.Error("it ended as if all were well")
		}
	})
}
