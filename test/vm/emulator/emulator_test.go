package emulator

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/test/vm/plan"
)

// TestCpio lets another program read what cpio writes.
func TestCpio(t *testing.T) {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("busybox is not installed")
	}
	var archive bytes.Buffer
	c := &cpio{w: &archive}
	c.dir("modules")
	c.file("modules/odd", 0o644, []byte("12345"))
	c.file("init", 0o755, []byte("#!"))
	if err := c.end(); err != nil {
		t.Fatal(err)
	}
	list := exec.Command(busybox, "cpio", "-t", "-v")
	list.Stdin = &archive
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"drwxr-xr-x", "modules/odd", "-rw-r--r--", "-rwxr-xr-x"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// TestReport reads a report that breaks off in the second of three steps.
func TestReport(t *testing.T) {
	text := plan.Mark + `{"Note":"kernel"}` + "\n" + plan.Mark + `{"Begin":"a"}` + "\nhello\nno newline" + plan.Mark + `{"End":"a","Code":3}` + "\n" +
		plan.Mark + `{"Begin":"b"}` + "\nlast words"
	var notes []string
	var results []Result
	r := Report{
		Steps:  []plan.Step{{Name: "a"}, {Name: "b"}, {Name: "c"}},
		Note:   func(text string) { notes = append(notes, text) },
		Result: func(r Result) { results = append(results, r) },
	}
	if err := r.Read(strings.NewReader(text)); err == nil {
		t.Error("a report that breaks off is no error")
	}
	if len(notes) != 1 || notes[0] != "kernel" || len(results) != 3 {
		t.Fatalf("notes %q, results %+v", notes, results)
	}
	for i, want := range []Result{{Output: "hello\nno newline", Code: 3, Ended: true}, {Output: "last words"}, {}} {
		got := results[i]
		if got.Output != want.Output || got.Code != want.Code || got.Ended != want.Ended || got.Step.Name != r.Steps[i].Name {
			t.Errorf("step %d: %+v", i, got)
		}
	}
}

// TestTied kills a process that runs a command, and sees the command end.
func TestTied(t *testing.T) {
	const variable = "SKIFF_TEST_TIED"
	if os.Getenv(variable) != "" {
		cmd := exec.Command("sh", "-c", "echo $$; exec sleep 1000000")
		cmd.Stdout = os.Stdout
		t.Fatal(runTied(cmd))
	}
	parent := exec.Command(os.Args[0], "-test.run=^TestTied$")
	parent.Env = append(os.Environ(), variable+"=1")
	out, err := parent.StdoutPipe()
	if err == nil {
		err = parent.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	_, err = fmt.Fscan(out, &pid)
	fd, errFD := unix.PidfdOpen(pid, 0)
	if err := errors.Join(err, errFD, parent.Process.Kill()); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	_ = parent.Wait() // killed
	const minute = 60_000
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, minute); n != 1 || err != nil {
		t.Errorf("the command goes on: %v", errors.Join(err, unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)))
	}
}

func TestModuleOrder(t *testing.T) {
	m := modules{files: map[string]string{}, builtin: []string{"crc32c"}}
	if list, err := m.load([]string{"crc32c"}); err != nil || len(list) != 0 {
		t.Errorf("a built-in module gave %v, %v", list, err)
	}
	if _, err := m.load([]string{"no-such"}); err == nil || !strings.Contains(err.Error(), `"no_such"`) {
		t.Errorf("a missing module: %v", err)
	}
}
