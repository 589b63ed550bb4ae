package main

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.skiff.dev/skiff/test/conformance/ledger"
	"go.skiff.dev/skiff/test/conformance/suite"
)

// report writes what a run gave: for machines, as JUnit, and into the ledger.
func report(o options, b built, results []suite.Result) error {
	rows, err := explain(o, results)
	if err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(o.work, "results.json"), results); err != nil {
		return err
	}
	if err := writeJUnit(filepath.Join(o.work, "junit.xml"), rows, results); err != nil {
		return err
	}
	passed := 0
	for _, r := range rows {
		if r.Passed {
			passed++
		} else {
			fmt.Printf("%s\n    %s (%s)\n", r.Name, r.Cause, r.Organ)
		}
	}
	fmt.Printf("%d of %d pass; logs are in %s\n", passed, len(rows), filepath.Join(o.work, "logs"))
	if o.selection != programme {
		return nil
	}
	return record(o, b, rows)
}

// recount explains the last run by the causes of today.
func recount(o options, b built) error {
	data, err := os.ReadFile(filepath.Join(o.work, "results.json"))
	if err != nil {
		return err
	}
	var results []suite.Result
	if err := json.Unmarshal(data, &results); err != nil {
		return err
	}
	rows, err := explain(o, results)
	if err != nil {
		return err
	}
	o.record = true
	return record(o, b, rows)
}

func explain(o options, results []suite.Result) ([]ledger.Row, error) {
	causes, err := ledger.ReadCauses(o.causesF)
	if err != nil {
		return nil, err
	}
	var rows []ledger.Row
	for _, r := range results {
		row := ledger.Row{Name: r.Name, Passed: r.Passed, Seconds: r.Seconds}
		if !r.Passed {
			// A test that was not begun has no log.
			log, _ := os.ReadFile(r.Log)
			row.Cause, row.Organ = causes.Explain(r.Name, r.Message, string(log))
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// record writes the ledger: after a whole run, or where it was asked for.
func record(o options, b built, rows []ledger.Row) error {
	before, err := ledger.Read(o.ledgerFile)
	if err != nil {
		return err
	}
	for _, name := range ledger.Worse(before, rows) {
		fmt.Println("passed before:", name)
	}
	if o.focus != "" && !o.record {
		return nil
	}
	list, err := suite.Conformance(b.module)
	if err != nil {
		return err
	}
	all := map[string]ledger.Row{}
	for _, r := range append(before, rows...) {
		all[r.Name] = r
	}
	// The list is kept beside the ledger, for those who have no suite at hand.
	programmeFile := filepath.Join(filepath.Dir(o.ledgerFile), "programme.txt")
	if err := os.WriteFile(programmeFile, []byte(strings.Join(list, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	var whole []ledger.Row
	for _, name := range list {
		r, ok := all[name]
		if !ok {
			r = ledger.Row{Name: name, Cause: "it has not been run", Organ: ledger.Unknown}
		}
		whole = append(whole, r)
	}
	return ledger.Write(o.ledgerFile, b.release, whole)
}

func writeJSON(file string, value any) error {
	data, err := json.MarshalIndent(value, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Time    float64       `xml:"time,attr"`
	Failure *junitFailure `xml:"failure"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func writeJUnit(file string, rows []ledger.Row, results []suite.Result) error {
	s := junitSuite{Name: "Kubernetes e2e suite", Tests: len(rows)}
	for i, r := range rows {
		c := junitCase{Name: r.Name, Class: r.SIG(), Time: r.Seconds}
		if !r.Passed {
			s.Failures++
			c.Failure = &junitFailure{Message: r.Cause, Text: results[i].Message}
		}
		s.Cases = append(s.Cases, c)
	}
	data, err := xml.MarshalIndent(s, "", " ")
	if err != nil {
		return fmt.Errorf("writing JUnit: %w", err)
	}
	return os.WriteFile(file, append([]byte(xml.Header), data...), 0o644)
}
