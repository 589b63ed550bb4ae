package lifecycle

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

// TestLogLimits bounds the containers' logs by flag: so many files of that size, in which the last lines follow each other
// without a hole, and one can read them from the API.
func TestLogLimits(t *testing.T) {
	const lines, files, size = 200000, 3, 1 << 20
	c := cluster.Start(t, "--container-log-max-size=1Mi", fmt.Sprint("--container-log-max-files=", files))
	c.ImportDebian("e2e/busybox:1", "busybox")
	c.Apply(fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: talker, image: e2e/busybox:1, command: [sh, -c, "seq 1 %d; exec sleep 1000"]}
`, lines))
	last := func() string { return strings.TrimSpace(c.Kubectl("logs", "talker", "--tail=1")) }
	c.WaitFor("condition=Ready", "pod/talker")
	cluster.Until(t, func() error {
		if got := last(); got != fmt.Sprint(lines) {
			return fmt.Errorf("the last line is %q", got)
		}
		return nil
	})
	paths, err := filepath.Glob(filepath.Join(c.Dir, "logs/default_talker_*/talker/0.log*"))
	if err != nil || len(paths) != files {
		t.Fatalf("log files %q, %v", paths, err)
	}
	// The current one has the shortest name; the others sort by their time.
	slices.Sort(paths)
	paths = append(paths[1:], paths[0])
	next := 0
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// A chunk of output, each line with its stamp, is written at once.
		if len(data) > 2*size {
			t.Errorf("%s has %d bytes", path, len(data))
		}
		begun := "" // of a line whose end was written later
		for line := range strings.Lines(string(data)) {
			fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
			if len(fields) != 4 {
				t.Fatalf("line %q of %s", line, path)
			}
			begun += fields[3]
			if fields[2] == "P" {
				continue
			}
			if next > 0 && begun != fmt.Sprint(next) {
				t.Fatalf("%q in %s, want %d", begun, path, next)
			}
			if _, err := fmt.Sscan(begun, &next); err != nil {
				t.Fatal(err)
			}
			next, begun = next+1, ""
		}
	}
	if next != lines+1 {
		t.Errorf("the last line is %d", next-1)
	}
}
