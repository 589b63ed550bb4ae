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
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"skiff.dev/skiff/internal/oci"
)

// version is set by the linker.
var version = "dev"

// app is one call of the command line, which is runc's: same verbs, flags, output and exit codes.
type app struct {
	ctx     context.Context
	root    string
	logPath string
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
		{"features", "show the enabled features", "", (*app).features},
		{"spec", "create a new specification file", "", (*app).spec},
	}
}

func command(args []string) int {
	// A command ends before its garbage counts; those that go on (events, a terminal) collect it at this size.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(32 << 20)
	a := &app{ctx: context.Background(), stdout: os.Stdout}
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
	fs := newFlags("skiff-oci")
	fs.StringVar(&a.root, "root", "/run/skiff-oci", "")
	fs.StringVar(&a.logPath, "log", "", "")
	format := fs.String("log-format", "text", "")
	fs.BoolVar(&a.debug, "debug", false, "")
	fs.BoolVar(&a.systemd, "systemd-cgroup", false, "")
	fs.String("rootless", "auto", "") // runc's; this program decides by what the kernel allows
	fs.String("criu", "", "")
	showVersion := fs.Bool("version", false, "")
	fs.BoolVar(showVersion, "v", false, "")
	help := helpFlag(fs)
	if err := fs.Parse(args); err != nil {
		return 1, err
	}
	if *format != "text" && *format != "json" {
		return 1, fmt.Errorf("invalid log-format %q: text and json are allowed", *format)
	}
	a.json = *format == "json"
	if *showVersion {
		fmt.Fprintf(a.stdout, "skiff-oci version %s\nspec: %s\n", version, specs.Version)
		return 0, nil
	}
	if *help || fs.NArg() == 0 || fs.Arg(0) == "help" {
		a.usage()
		return 0, nil
	}
	for _, v := range verbs() {
		if v.name == fs.Arg(0) {
			return v.run(a, fs.Args()[1:])
		}
	}
	return 1, fmt.Errorf("no such command: %q", fs.Arg(0))
}

func (a *app) usage() {
	fmt.Fprint(a.stdout, "NAME:\n   skiff-oci - run containers as the OCI runtime specification says\n\n"+
		"USAGE:\n   skiff-oci [global options] command [command options] [arguments...]\n\nCOMMANDS:\n")
	for _, v := range verbs() {
		fmt.Fprintf(a.stdout, "   %-10s %s\n", v.name, v.usage)
	}
	fmt.Fprint(a.stdout, "\nGLOBAL OPTIONS:\n   --root DIR  --log FILE  --log-format text|json  --debug  --systemd-cgroup  --version\n")
}

// newFlags makes a quiet flag set: errors are reported once, by report.
func newFlags(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	return fs
}

func helpFlag(fs *flag.FlagSet) *bool {
	h := fs.Bool("help", false, "")
	fs.BoolVar(h, "h", false, "")
	return h
}

// parse reads a verb's flags and checks how many arguments follow; max < 0: any number.
func (a *app) parse(fs *flag.FlagSet, args []string, min, max int) (helped bool, err error) {
	help := helpFlag(fs)
	if err := fs.Parse(args); err != nil {
		return false, err
	}
	if *help {
		for _, v := range verbs() {
			if v.name == fs.Name() {
				fmt.Fprintf(a.stdout, "NAME:\n   skiff-oci %s - %s\n\nUSAGE:\n   skiff-oci %s [command options] %s\n\nOPTIONS:\n",
					v.name, v.usage, v.name, v.args)
			}
		}
		fs.VisitAll(func(f *flag.Flag) { fmt.Fprintf(a.stdout, "   --%s\n", f.Name) })
		return true, nil
	}
	if fs.NArg() < min {
		return false, fmt.Errorf("%q requires at least %d argument(s)", fs.Name(), min)
	}
	if max >= 0 && fs.NArg() > max {
		return false, fmt.Errorf("%q requires at most %d argument(s)", fs.Name(), max)
	}
	return false, nil
}

// report writes an error where runc's callers look for it: to standard error, and into the log file.
func (a *app) report(err error) {
	fmt.Fprintln(os.Stderr, a.line("error", err.Error(), false))
	a.toLog("error", err.Error())
}

func (a *app) warn(msg string) {
	if a.logPath == "" {
		fmt.Fprintln(os.Stderr, a.line("warning", msg, false))
	}
	a.toLog("warning", msg)
}

func (a *app) toLog(level, msg string) {
	if a.logPath == "" {
		return
	}
	f, err := os.OpenFile(a.logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		fmt.Fprintln(os.Stderr, a.line("error", err.Error(), false))
		return
	}
	defer f.Close()
	fmt.Fprintln(f, a.line(level, msg, a.json))
}

func (a *app) line(level, msg string, asJSON bool) string {
	now := time.Now().Format(time.RFC3339)
	if asJSON {
		b, _ := json.Marshal(struct {
			Level string `json:"level"`
			Msg   string `json:"msg"`
			Time  string `json:"time"`
		}{level, msg, now})
		return string(b)
	}
	return fmt.Sprintf("time=%q level=%s msg=%q", now, level, msg)
}

// load finds the container named by the first argument.
func (a *app) load(id string) (*oci.Container, error) {
	c, err := oci.Load(a.root, id)
	if err != nil {
		return nil, err
	}
	c.Warn = a.warn
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
