package main

import (
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"testing"

	"go.skiff.dev/skiff/internal/early"
)

// The packages that must be initialised before others are: Go's order follows
// from import paths, which nobody looks at when a dependency is renewed.
func TestEarly(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	at := map[string]int{}
	for i, line := range strings.Split(string(out), "\n") {
		if rest, ok := strings.CutPrefix(line, "init "); ok {
			name, _, _ := strings.Cut(rest, " ")
			at[name] = i + 1
		}
	}
	const own = "go.skiff.dev/skiff/internal/early"
	for first, then := range map[string][]string{
		own:            {"k8s.io/api/core/v1", "k8s.io/client-go/kubernetes/scheme", "k8s.io/kubectl/pkg/scheme"},
		own + "/words": {"k8s.io/kubectl/pkg/cmd/options", "k8s.io/kubectl/pkg/cmd/get", "k8s.io/kubectl/pkg/cmd/create"},
	} {
		for _, later := range then {
			if at[first] == 0 || at[later] == 0 || at[first] > at[later] {
				t.Errorf("%s is initialised as number %d, %s as number %d", first, at[first], later, at[later])
			}
		}
	}
}

func TestCollectorRunsInTheEnd(t *testing.T) {
	before := debug.SetGCPercent(-1)
	early.Collect()
	now := debug.SetGCPercent(before)
	if now <= 0 {
		t.Errorf("the garbage collector's percentage is %d", now)
	}
}
