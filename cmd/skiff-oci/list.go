package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"go.skiff.dev/skiff/internal/oci"
)

func (a *app) list(args []string) (int, error) {
	fs := newFlags("list")
	format := fs.String("format", "table", "")
	fs.StringVar(format, "f", "table", "")
	quiet := fs.Bool("quiet", false, "")
	fs.BoolVar(quiet, "q", false, "")
	if err := a.parse(fs, args, 0, 0); err != nil {
		return 1, err
	}
	states, err := a.states()
	if err != nil {
		return 1, err
	}
	switch {
	case *quiet:
		for _, s := range states {
			fmt.Fprintln(a.stdout, s.ID)
		}
		return 0, nil
	case *format == "json":
		return 0, json.NewEncoder(a.stdout).Encode(states)
	case *format == "table":
		return 0, listTable(a.stdout, states)
	}
	return 1, errors.New("invalid format option")
}

// states reads all containers. One that cannot be read is a warning, so that the others are seen. A root that was given
// and is not there is a mistake; the usual one appears with the first container.
func (a *app) states() ([]stateJSON, error) {
	if a.rooted {
		if _, err := os.Stat(a.root); err != nil {
			return nil, err
		}
	}
	cs, err := oci.List(a.root)
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range several.Unwrap() {
			a.warn(e.Error())
		}
		err = nil
	}
	out := []stateJSON{}
	for _, c := range cs {
		s, err := c.State()
		if err != nil {
			a.warn(err.Error())
			continue
		}
		out = append(out, toJSON(s))
	}
	return out, err
}

func listTable(out io.Writer, states []stateJSON) error {
	w := tabwriter.NewWriter(out, 12, 1, 3, ' ', 0)
	fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n")
	for _, s := range states {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", s.ID, s.PID, s.Status, s.Bundle, s.Created.Format(time.RFC3339Nano), s.Owner)
	}
	return w.Flush()
}
