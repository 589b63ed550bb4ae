package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"go.skiff.dev/skiff/internal/oci"
)

// app is one call of the command line, which is runc's: same verbs, flags, output and exit codes.
type app struct {
	ctx     context.Context
	name    string // as it was called: an error or a help text is looked for under that name
	root    string
	rooted  bool     // root was given
	logFile *os.File // nil: standard error
	json    bool
	debug   bool
	systemd bool
	stdout  io.Writer
}

// exitError ends the program with a code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// verb is one subcommand. run gets the arguments behind its name and returns an exit code.
type verb struct {
	name, usage, args string
	run               func(*app, []string) (int, error)
}

func verbs() []verb {
	return []verb{
		{"create", "create a container", "<container-id>", (*app).create},
		{"start", "execute the user defined process in a created container", "<container-id>", (*app).start},
		{"run", "create and run a container", "<container-id>", (*app).runVerb},
		{"state", "output the state of a container", "<container-id>", (*app).state},
		{"kill", "send the specified signal to the container's init process", "<container-id> [signal]", (*app).kill},
		{"delete", "delete any resources held by the container", "<container-id>", (*app).delete},
		{"exec", "execute new process inside the container", "<container-id> <command> [args...]", (*app).exec},
		{"ps", "display the processes running inside a container", "<container-id> [ps options]", (*app).ps},
		{"list", "list containers started with the given root", "", (*app).list},
		{"pause", "suspend all processes inside the container", "<container-id>", (*app).pause},
		{"resume", "resume all processes that have been paused", "<container-id>", (*app).resume},
		{"update", "update container resource constraints", "<container-id>", (*app).update},
		{"events", "display container events such as OOM notifications and usage statistics", "<container-id>", (*app).events},
		{"checkpoint", "checkpoint a running container (not supported)", "<container-id>", (*app).checkpoint},
		{"restore", "restore a container from a previous checkpoint (not supported)", "<container-id>", (*app).restore},
		{"features", "show the enabled features", "", (*app).features},
		{"spec", "create a new specification file", "", (*app).spec},
	}
}

func command(args []string) int {
	// A command ends before its garbage counts; those that go on (events, a terminal) collect it at this size.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(32 << 20)
	a := &app{ctx: context.Background(), name: filepath.Base(os.Args[0]), stdout: os.Stdout}
	code, err := a.dispatch(args)
	if err == nil {
		return code
	}
	a.report(err)
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return 1
}

func (a *app) dispatch(args []string) (int, error) {
	fs := newFlags(a.name)
	var showVersion bool
	help := helpFlag(fs)
	for _, n := range []string{"version", "v"} {
		fs.BoolVar(&showVersion, n, false, "")
	}
	if err := a.globals(fs, args); err != nil {
		return 1, err
	}
	switch {
	case showVersion:
		return a.printVersion()
	case *help || fs.NArg() == 0:
		return a.usage()
	case fs.Arg(0) == "help" || fs.Arg(0) == "h":
		if fs.NArg() == 1 {
			return a.usage()
		}
		return a.call(fs.Arg(1), []string{"--help"})
	}
	a.debugf("%s: root %s, arguments %q", fs.Arg(0), a.root, fs.Args()[1:])
	return a.call(fs.Arg(0), fs.Args()[1:])
}

// globals reads the flags before the verb.
func (a *app) globals(fs *flag.FlagSet, args []string) error {
	fs.StringVar(&a.root, "root", defaultRoot(), "")
	logPath := fs.String("log", "", "")
	format := fs.String("log-format", "text", "")
	fs.BoolVar(&a.debug, "debug", false, "")
	fs.BoolVar(&a.systemd, "systemd-cgroup", false, "")
	fs.String("rootless", "auto", "") // runc's; this program decides by what the kernel allows
	fs.String("criu", "", "")
	if err := fs.Parse(args); err != nil {
		return err
	}
	fs.Visit(func(f *flag.Flag) { a.rooted = a.rooted || f.Name == "root" })
	if *format != "text" && *format != "json" {
		return fmt.Errorf("invalid log-format: %s", *format)
	}
	a.json = *format == "json"
	if *logPath == "" {
		return nil
	}
	var err error
	a.logFile, err = os.OpenFile(*logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	return err
}

// defaultRoot is the user's own where the machine's is not theirs.
func defaultRoot() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && oci.UnderUser() {
		return filepath.Join(dir, "skiff-oci")
	}
	return "/run/skiff-oci"
}

func (a *app) call(name string, args []string) (int, error) {
	for _, v := range verbs() {
		if v.name == name {
			code, err := v.run(a, args)
			if errors.Is(err, errHelped) {
				return 0, nil
			}
			return code, err
		}
	}
	return 3, &exitError{3, fmt.Errorf("No help topic for '%s'", name)}
}

// load finds the container named by the first argument.
func (a *app) load(id string) (*oci.Container, error) {
	c, err := oci.Load(a.root, id)
	if err != nil {
		return nil, err
	}
	c.Warn = a.warn
	a.debugf("container %s: init is process %d, its cgroup %s", id, c.Init.PID, c.CgroupPath())
	return c, nil
}

// readSpec reads config.json of a bundle.
func readSpec(bundle string) (*specs.Spec, []byte, error) {
	raw, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("JSON specification file %s not found", filepath.Join(bundle, "config.json"))
	}
	if err != nil {
		return nil, nil, err
	}
	var s specs.Spec
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, nil, fmt.Errorf("config.json: %w", err)
	}
	return &s, raw, nil
}
