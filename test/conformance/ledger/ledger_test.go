package ledger

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestLedgerIsReadAsItWasWritten(t *testing.T) {
	rows := []Row{
		{Name: "[sig-node] Pods should run [Conformance]", Passed: true, Seconds: 3},
		{Name: "[sig-apps] Job should end | at last [Conformance]", Seconds: 1, Cause: "There are no jobs.", Organ: "jobs"},
		{Name: "[sig-node] Probes should be asked [Conformance]", Seconds: 61, Cause: "It is late.", Organ: "kubelet"},
	}
	file := filepath.Join(t.TempDir(), "LEDGER.md")
	if err := Write(file, "v1.2.3", rows); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"Kubernetes v1.2.3: 3 tests, 1 pass, 2 fail.", "| sig-node | 2 | 1 | 1 |", "| sig-apps | 1 | 0 | 1 |", "| total | 3 | 1 | 2 |", "| jobs | 1 |", "| kubelet | 1 |"} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("the ledger has no line %q:\n%s", line, text)
		}
	}
	back, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	// Written by group, then by name.
	if want := []Row{rows[1], rows[0], rows[2]}; !slices.Equal(back, want) {
		t.Errorf("read back %+v, want %+v", back, want)
	}
	if none, err := Read(filepath.Join(t.TempDir(), "LEDGER.md")); err != nil || none != nil {
		t.Errorf("a ledger that is not there: %v, %v", none, err)
	}
}

func TestWorseIsWhatPassedBefore(t *testing.T) {
	before := []Row{{Name: "a", Passed: true}, {Name: "b", Passed: true}, {Name: "c"}}
	now := []Row{{Name: "a", Passed: true}, {Name: "b"}, {Name: "c"}, {Name: "d"}}
	if got := Worse(before, now); !slices.Equal(got, []string{"b"}) {
		t.Errorf("worse are %q, want b", got)
	}
}

func TestCausesAreTriedInTheirOrder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "causes.yaml")
	write := func(text string) (Causes, error) {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return ReadCauses(file)
	}
	causes, err := write(`
- {test: Job, message: not.find, organ: jobs, cause: There are no jobs.}
- {message: not.find, organ: kinds, cause: There is no such kind.}
- {log: "OOM\nkilled", organ: kubelet, cause: It was killed.}
`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ test, message, log, cause, organ string }{
		{"Job should run", "could not find it", "", "There are no jobs.", "jobs"},
		{"Pod should run", "could not\nfind it", "", "There is no such kind.", "kinds"},
		{"Pod should run", "timed out", "...OOM\nkilled", "It was killed.", "kubelet"},
		{"Pod should run", "timed out\nafter all", "", "unknown: timed out", Unknown},
		{"Pod should run", "running /home/me/skiff/bin/conformance/kubectl --kubeconfig=/tmp/skiff-conformance-21/k.yaml failed", "", "unknown: running kubectl --kubeconfig=k.yaml failed", Unknown},
	} {
		if cause, organ := causes.Explain(c.test, c.message, c.log); cause != c.cause || organ != c.organ {
			t.Errorf("%s, %q: %q of %q, want %q of %q", c.test, c.message, cause, organ, c.cause, c.organ)
		}
	}
	for _, bad := range []string{"- {test: a, organ: b}", "- {organ: a, cause: b}", "- {test: '(', organ: a, cause: b}", "- {tests: a, organ: a, cause: b}"} {
		if _, err := write(bad); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func TestCommittedCausesAreWell(t *testing.T) {
	if _, err := ReadCauses("../causes.yaml"); err != nil {
		t.Error(err)
	}
}
