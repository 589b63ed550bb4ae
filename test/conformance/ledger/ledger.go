// Package ledger keeps the record of the suite's tests: which pass, how long
// they take, and why the others fail.
package ledger

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Row is the record of one test.
type Row struct {
	Name    string
	Passed  bool
	Seconds float64
	// Cause is why it fails, in one sentence, Organ whom that concerns.
	Cause, Organ string
}

// SIG is the group that a test belongs to.
func (r Row) SIG() string {
	sig, _, _ := strings.Cut(strings.TrimPrefix(r.Name, "["), "]")
	return sig
}

const head = `# Ledger of the conformance suite

Written by ` + "`make conformance`" + ` (see [docs/conformance.md](../../docs/conformance.md)); not by hand. The causes of failures come from
[causes.yaml](causes.yaml).

`

// Write writes the ledger of a release's suite.
func Write(file, release string, rows []Row) error {
	rows = slices.SortedFunc(slices.Values(rows), func(a, b Row) int { return cmp.Compare(a.Name, b.Name) })
	var b bytes.Buffer
	b.WriteString(head)
	total := count(rows)
	fmt.Fprintf(&b, "Kubernetes %s: %d tests, %d pass, %d fail.\n\n| group | tests | pass | fail |\n|---|---|---|---|\n", release, total.tests, total.passed, total.tests-total.passed)
	bySIG := group(rows, Row.SIG)
	for _, sig := range slices.Sorted(maps.Keys(bySIG)) {
		n := count(bySIG[sig])
		fmt.Fprintf(&b, "| %s | %d | %d | %d |\n", sig, n.tests, n.passed, n.tests-n.passed)
	}
	fmt.Fprintf(&b, "| total | %d | %d | %d |\n", total.tests, total.passed, total.tests-total.passed)
	failed := slices.DeleteFunc(slices.Clone(rows), func(r Row) bool { return r.Passed })
	byOrgan := group(failed, func(r Row) string { return r.Organ })
	organs := slices.SortedFunc(maps.Keys(byOrgan), func(a, b string) int {
		return cmp.Or(len(byOrgan[b])-len(byOrgan[a]), cmp.Compare(a, b))
	})
	b.WriteString("\n| organ that failures wait for | tests |\n|---|---|\n")
	for _, o := range organs {
		fmt.Fprintf(&b, "| %s | %d |\n", o, len(byOrgan[o]))
	}
	for _, sig := range slices.Sorted(maps.Keys(bySIG)) {
		fmt.Fprintf(&b, "\n## %s\n\n| test | result | seconds | cause | organ |\n|---|---|---|---|---|\n", sig)
		for _, r := range bySIG[sig] {
			fmt.Fprintf(&b, "| %s | %s | %.0f | %s | %s |\n", cell(r.Name), verdict(r.Passed), r.Seconds, cell(r.Cause), cell(r.Organ))
		}
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}

type counts struct{ tests, passed int }

func count(rows []Row) counts {
	n := counts{tests: len(rows)}
	for _, r := range rows {
		if r.Passed {
			n.passed++
		}
	}
	return n
}

func group(rows []Row, key func(Row) string) map[string][]Row {
	groups := map[string][]Row{}
	for _, r := range rows {
		groups[key(r)] = append(groups[key(r)], r)
	}
	return groups
}

func verdict(passed bool) string {
	if passed {
		return "pass"
	}
	return "fail"
}

// cell makes a text one cell of a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

var row = regexp.MustCompile(`(?m)^\| (\[sig-.*) \| (pass|fail) \| (\d+) \| (.*) \| (.*) \|$`)

// Read reads a ledger back; one that is not there has no rows.
func Read(file string) ([]Row, error) {
	data, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	plain := func(s string) string { return strings.ReplaceAll(s, `\|`, "|") }
	var rows []Row
	for _, m := range row.FindAllStringSubmatch(string(data), -1) {
		seconds, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return nil, err
		}
		rows = append(rows, Row{plain(m[1]), m[2] == "pass", seconds, plain(m[4]), plain(m[5])})
	}
	return rows, nil
}

// Worse lists the tests that passed before and fail now.
func Worse(before, now []Row) []string {
	passed := map[string]bool{}
	for _, r := range before {
		passed[r.Name] = r.Passed
	}
	var names []string
	for _, r := range now {
		if passed[r.Name] && !r.Passed {
			names = append(names, r.Name)
		}
	}
	return names
}
