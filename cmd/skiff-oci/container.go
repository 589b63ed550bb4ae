package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/oci"
)

// stateJSON is what runc prints; callers parse these names.
type stateJSON struct {
	Version     string               `json:"ociVersion"`
	ID          string               `json:"id"`
	PID         int                  `json:"pid"`
	Status      specs.ContainerState `json:"status"`
	Bundle      string               `json:"bundle"`
	Rootfs      string               `json:"rootfs"`
	Created     time.Time            `json:"created"`
	Annotations map[string]string    `json:"annotations,omitempty"`
	Owner       string               `json:"owner"`
}

func toJSON(s oci.State) stateJSON {
	return stateJSON{s.Version, s.ID, s.Pid, s.Status, s.Bundle, s.Rootfs, s.Created, s.Annotations, s.Owner}
}

func (a *app) printJSON(v any) (int, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		_, err = fmt.Fprintf(a.stdout, "%s\n", b)
	}
	return 0, err
}

func (a *app) state(args []string) (int, error) {
	fs := newFlags("state")
	if err := a.parse(fs, args, 1, 1); err != nil {
		return 1, err
	}
	c, err := a.load(fs.Arg(0))
	if err != nil {
		return 1, err
	}
	s, err := c.State()
	if err != nil {
		return 1, err
	}
	return a.printJSON(toJSON(s))
}

func (a *app) kill(args []string) (int, error) {
	fs := newFlags("kill")
	all := fs.Bool("all", false, "")
	fs.BoolVar(all, "a", false, "")
	if err := a.parse(fs, args, 1, 2); err != nil {
		return 1, err
	}
	c, err := a.load(fs.Arg(0))
	if err != nil {
		return 1, err
	}
	sig := unix.SIGTERM
	if fs.NArg() > 1 {
		if sig, err = parseSignal(fs.Arg(1)); err != nil {
			return 1, err
		}
	}
	return 0, c.Kill(sig, *all)
}

// parseSignal takes a number, or a name with or without SIG.
func parseSignal(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > 64 {
			return 0, fmt.Errorf("unknown signal %q", s)
		}
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if n := unix.SignalNum(name); n != 0 {
		return n, nil
	}
	return 0, fmt.Errorf("unknown signal %q", s)
}

func (a *app) delete(args []string) (int, error) {
	fs := newFlags("delete")
	force := fs.Bool("force", false, "")
	fs.BoolVar(force, "f", false, "")
	if err := a.parse(fs, args, 1, 1); err != nil {
		return 1, err
	}
	c, err := a.load(fs.Arg(0))
	if errors.Is(err, oci.ErrNotFound) {
		if *force { // a create that was killed early leaves a directory without a record
			return 0, oci.RemoveUnfinished(a.root, fs.Arg(0))
		}
		return 1, err
	}
	if err != nil {
		return 1, err
	}
	return 0, c.Delete(*force)
}

func (a *app) pause(args []string) (int, error)  { return a.freeze("pause", args) }
func (a *app) resume(args []string) (int, error) { return a.freeze("resume", args) }

func (a *app) freeze(name string, args []string) (int, error) {
	fs := newFlags(name)
	if err := a.parse(fs, args, 1, 1); err != nil {
		return 1, err
	}
	c, err := a.load(fs.Arg(0))
	if err != nil {
		return 1, err
	}
	st, err := c.Status()
	switch {
	case err != nil:
	case name == "pause" && st != specs.StateRunning && st != specs.StateCreated:
		err = fmt.Errorf("pausing container %q: container not running: it is %s", c.ID, st)
	case name == "pause":
		err = c.Pause()
	case st != oci.StatePaused:
		err = fmt.Errorf("resuming container %q: container not paused: it is %s", c.ID, st)
	default:
		err = c.Resume()
	}
	return 0, err
}

func (a *app) ps(args []string) (int, error) {
	fs := newFlags("ps")
	format := fs.String("format", "table", "")
	fs.StringVar(format, "f", "table", "")
	if err := a.parse(fs, args, 1, -1); err != nil {
		return 1, err
	}
	c, err := a.load(fs.Arg(0))
	if err != nil {
		return 1, err
	}
	pids, err := c.Pids()
	if err != nil {
		return 1, err
	}
	switch *format {
	case "json":
		return 0, json.NewEncoder(a.stdout).Encode(pids)
	case "table":
		cols, err := psColumns(fs.Args()[1:])
		if err != nil {
			return 1, err
		}
		return 0, psTable(a.stdout, pids, cols)
	}
	return 1, errors.New("invalid format option")
}

func readFile(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
}
