package suite

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTemporaryFilesGo: what the suite leaves in its temporary directory goes with the test.
func TestTemporaryFilesGo(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nmkdir \"$TMPDIR/left\" && echo \"$TMPDIR\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := Suite{Binary: program, Logs: dir}.Run(t.Context(), "001", "a test", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(r.Log)
	tmp := strings.TrimSpace(string(log))
	if err != nil || filepath.Dir(tmp) != filepath.Dir(r.Log) {
		t.Errorf("its temporary directory is %q: %v", tmp, err)
	}
	if _, err := os.Stat(tmp); !os.IsNotExist(err) {
		t.Errorf("its temporary directory is still there: %v", err)
	}
}

func TestReportOfOneTest(t *testing.T) {
	const skipped = `{"LeafNodeType":"It","State":"skipped"}`
	for _, c := range []struct {
		report, message string
		passed, wrong   bool
	}{
		{`{"LeafNodeType":"SynchronizedBeforeSuite","State":"passed"},` + skipped + `,{"LeafNodeType":"It","State":"passed","RunTime":2500000000}`, "", true, false},
		{skipped + `,{"LeafNodeType":"It","State":"failed","RunTime":2500000000,"Failure":{"Message":"no pod"}}`, "failed: no pod", false, false},
		{`{"LeafNodeType":"It","State":"skipped","RunTime":2500000000,"Failure":{"Message":"needs two nodes"}}`, "skipped: needs two nodes", false, false},
		{`{"LeafNodeType":"SynchronizedBeforeSuite","State":"failed","Failure":{"Message":"no node"}},` + skipped, "failed: no node", false, true},
	} {
		file := filepath.Join(t.TempDir(), "report.json")
		if err := os.WriteFile(file, []byte(`[{"SpecReports":[`+c.report+`]}]`), 0o644); err != nil {
			t.Fatal(err)
		}
		var r Result
		if err := r.read(file); err != nil != c.wrong {
			t.Errorf("%s: %v", c.report, err)
		}
		if r.Passed != c.passed || r.Message != c.message || !c.wrong && r.Seconds != 2.5 {
			t.Errorf("%s: read %+v", c.report, r)
		}
	}
}
