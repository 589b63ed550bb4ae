package house

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestConformanceLedgerAddsUp holds the ledger of the upstream suite against
// the list of the programme's tests, and its totals against its rows.
func TestConformanceLedgerAddsUp(t *testing.T) {
	text := read(t, "test/conformance/LEDGER.md")
	programme := strings.Split(strings.TrimSpace(read(t, "test/conformance/programme.txt")), "\n")
	row := regexp.MustCompile(`(?m)^\| (\[sig-.*) \| (pass|fail) \| \d+ \| (.*) \| (.*) \|$`)
	var names []string
	tests, passed, organs := map[string]int{}, map[string]int{}, map[string]int{}
	for _, m := range row.FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
		sig, _, _ := strings.Cut(strings.TrimPrefix(m[1], "["), "]")
		for _, key := range []string{sig, "total"} {
			tests[key]++
			if m[2] == "pass" {
				passed[key]++
			}
		}
		if m[2] == "fail" {
			organs[m[4]]++
			if m[3] == "" || m[4] == "" {
				t.Errorf("the ledger says neither why nor for which organ this fails: %s", m[1])
			}
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, slices.Sorted(slices.Values(programme))) {
		t.Errorf("the ledger has %d tests, the programme %d, or other ones", len(names), len(programme))
	}
	for key, n := range tests {
		if line := fmt.Sprintf("\n| %s | %d | %d | %d |\n", key, n, passed[key], n-passed[key]); !strings.Contains(text, line) {
			t.Errorf("the ledger does not say%s", line)
		}
	}
	for organ, n := range organs {
		if line := fmt.Sprintf("\n| %s | %d |\n", organ, n); !strings.Contains(text, line) {
			t.Errorf("the ledger does not say%s", line)
		}
	}
}
