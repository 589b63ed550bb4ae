package emulator

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"go.skiff.dev/skiff/test/vm/plan"
)

// Result is how one step went.
type Result struct {
	Step   plan.Step
	Output string
	Code   int
	Took   time.Duration
	// Ended is false for a step that the machine did not live to finish.
	Ended bool
}

// Report takes the machine's report and tells each step as it ends.
type Report struct {
	Steps  []plan.Step
	Note   func(string)
	Result func(Result)
}

// Read reads the report until the machine ends. A step that began and did not
// end, and those that never began, are told too.
func (r Report) Read(from io.Reader) error {
	lines := bufio.NewReader(from)
	var output strings.Builder
	done, whole := map[string]bool{}, false
	for {
		line, err := lines.ReadString('\n')
		text, mark, marked := strings.Cut(line, plan.Mark)
		output.WriteString(text)
		if marked {
			e, err := r.event(mark, &output, done)
			if err != nil {
				return err
			}
			whole = whole || e.Done
		}
		if err != nil {
			r.unfinished(done, output.String())
			if err == io.EOF && whole {
				return nil
			}
			return fmt.Errorf("reading the machine's report: %w", err)
		}
	}
}

func (r Report) event(text string, output *strings.Builder, done map[string]bool) (plan.Event, error) {
	var e plan.Event
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return e, fmt.Errorf("reading the machine's report: %w in %q", err, text)
	}
	switch {
	case e.Note != "":
		r.Note(e.Note)
	case e.Begin != "":
		output.Reset()
	case e.End != "":
		done[e.End] = true
		r.Result(Result{Step: r.step(e.End), Output: output.String(), Code: e.Code, Took: e.Took, Ended: true})
		output.Reset()
	}
	return e, nil
}

func (r Report) step(name string) plan.Step {
	for _, s := range r.Steps {
		if s.Name == name {
			return s
		}
	}
	return plan.Step{Name: name}
}

// unfinished tells the steps that did not end; the output is the first one's.
func (r Report) unfinished(done map[string]bool, output string) {
	for _, s := range r.Steps {
		if !done[s.Name] {
			r.Result(Result{Step: s, Output: output})
			output = ""
		}
	}
}
