package vm

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.skiff.dev/skiff/test/e2e/cluster"
	"go.skiff.dev/skiff/test/vm/emulator"
	"go.skiff.dev/skiff/test/vm/plan"
)

// suite is a package whose tests are run in the machine.
type suite struct {
	path string
	// run is a pattern of the tests that are about the kernel, where the rest is
	// the same on any; skip one of tests that are not run all the same. Both say
	// why. Emulated, a program's start takes forty times as long.
	run, skip, because string
	// env tells where the programs are that the tests would build elsewhere.
	env []string
}

// testDir is where the test binaries are on the machine's disk.
const testDir = "/tests"

// step compiles the suite's tests onto the machine's disk. Tests find their
// data where it is in the repository, so the disk has the same paths.
func (s suite) step(t *testing.T, m emulator.Machine, limit time.Duration) plan.Step {
	t.Helper()
	name := strings.ReplaceAll(s.path, "/", "-") + ".test"
	binary := filepath.Join(m.Dir, name)
	build(t, "test", "-c", "-ldflags=-s -w", "-o", binary, "./"+s.path)
	dir := filepath.Join(cluster.Root(), s.path)
	put(t, m, binary, testDir+"/"+name)
	if err := os.Remove(binary); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir + "/testdata"); err == nil {
		put(t, m, dir+"/testdata", dir+"/testdata")
	} else {
		put(t, m, "/dev/null", dir+"/.keep")
	}
	args := []string{testDir + "/" + name, "-test.v=test2json", "-test.timeout=" + limit.String()}
	if s.run != "" {
		args = append(args, "-test.run="+s.run)
	}
	if s.skip != "" {
		args = append(args, "-test.skip="+s.skip)
	}
	if s.because != "" {
		t.Logf("%s: only %q, without %q: %s", s.path, s.run, s.skip, s.because)
	}
	const grace = 10 * time.Second
	return plan.Step{Name: s.path, Dir: dir, Args: args, Env: s.env, Limit: limit + grace, Test: true}
}

func put(t *testing.T, m emulator.Machine, from, to string) {
	t.Helper()
	if err := m.Disk.Add(from, to); err != nil {
		t.Fatal(err)
	}
}

// outcome is one test of a suite.
type outcome struct {
	verdict, output string
	seconds         float64
}

// tellTests tells a test binary's output as one subtest for each of its tests.
func tellTests(t *testing.T, output string) {
	t.Helper()
	convert := exec.Command("go", "tool", "test2json", "-t")
	convert.Stdin = strings.NewReader(output)
	events, err := convert.Output()
	if err != nil {
		t.Fatalf("reading the tests' output: %v\n%s", err, output)
	}
	var names []string
	tests := map[string]*outcome{}
	for decoder := json.NewDecoder(bytes.NewReader(events)); decoder.More(); {
		var e struct {
			Action, Test, Output string
			Elapsed              float64
		}
		if err := decoder.Decode(&e); err != nil {
			t.Fatal(err)
		}
		top, _, sub := strings.Cut(e.Test, "/")
		o := tests[top]
		if o == nil {
			o = &outcome{}
			tests[top], names = o, append(names, top)
		}
		o.output += e.Output
		if !sub && (e.Action == "pass" || e.Action == "fail" || e.Action == "skip") {
			o.verdict, o.seconds = e.Action, e.Elapsed
		}
	}
	if len(tests) == 0 || len(tests) == 1 && tests[""] != nil {
		t.Errorf("no test was run:\n%s", output)
	}
	for _, name := range names {
		if name == "" {
			t.Log(tests[name].output)
			continue
		}
		t.Run(name, tests[name].tell)
	}
}

func (o outcome) tell(t *testing.T) {
	t.Logf("%.1f s in the machine", o.seconds)
	switch o.verdict {
	case "pass":
	case "skip":
		t.Skip(o.output)
	case "fail":
		t.Error(o.output)
	default:
		t.Errorf("did not end\n%s", o.output)
	}
}
