package ledger

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// Cause is a kind of failure: by what it is known, why it is, and whom it
// concerns. What is not given is not looked at.
type Cause struct {
	// Test, Message and Log are regular expressions for the name of the test,
	// what the suite says of the failure, and all that the test wrote.
	Test, Message, Log string
	Organ, Cause       string

	test, message, log *regexp.Regexp
}

// Causes are tried in their order; the first that matches is the cause.
type Causes []Cause

// ReadCauses reads the table of causes.
func ReadCauses(file string) (Causes, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var list Causes
	if err := yaml.UnmarshalStrict(data, &list); err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	for i := range list {
		c := &list[i]
		if c.Organ == "" || c.Cause == "" || c.Test+c.Message+c.Log == "" {
			return nil, fmt.Errorf("reading %s: entry %d lacks its organ, its cause or what it is known by", file, i+1)
		}
		for _, p := range []struct {
			to   **regexp.Regexp
			text string
		}{{&c.test, c.Test}, {&c.message, c.Message}, {&c.log, c.Log}} {
			if p.text == "" {
				continue
			}
			if *p.to, err = regexp.Compile("(?s)" + p.text); err != nil {
				return nil, fmt.Errorf("reading %s: entry %d: %w", file, i+1, err)
			}
		}
	}
	return list, nil
}

// places are the directories of a run, which differ from machine to machine.
var places = regexp.MustCompile(`/[^\s:=,'"]*(?:bin/conformance|skiff-conformance-\d+)/`)

// Unknown is the organ of failures that no cause explains.
const Unknown = "unknown"

// Explain finds the cause of a failure and its organ.
func (list Causes) Explain(test, message, log string) (cause, organ string) {
	for _, c := range list {
		if (c.test == nil || c.test.MatchString(test)) && (c.message == nil || c.message.MatchString(message)) && (c.log == nil || c.log.MatchString(log)) {
			return c.Cause, c.Organ
		}
	}
	first, _, _ := strings.Cut(message, "\n")
	first = places.ReplaceAllString(first, "")
	if len(first) > 200 {
		first = first[:200]
	}
	return "unknown: " + strings.TrimSpace(first), Unknown
}
