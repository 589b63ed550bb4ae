package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/pidfd"
	"go.skiff.dev/skiff/internal/oci"
)

// list of strings given by repeating a flag.
type repeated []string

func (r *repeated) String() string     { return strings.Join(*r, ",") }
func (r *repeated) Set(v string) error { *r = append(*r, v); return nil }

// execFlags are runc's.
type execFlags struct {
	console, pidfd, cwd, user, process, pidFile, label, profile string
	env, gids, caps, cgroups                                    repeated
	tty, detach, noNewPrivs, ignorePaused                       bool
	preserve                                                    int
}

func (e *execFlags) define(fs *flag.FlagSet) {
	text := func(p *string, names ...string) {
		for _, n := range names {
			fs.StringVar(p, n, "", "")
		}
	}
	list := func(p *repeated, names ...string) {
		for _, n := range names {
			fs.Var(p, n, "")
		}
	}
	toggle := func(p *bool, names ...string) {
		for _, n := range names {
			fs.BoolVar(p, n, false, "")
		}
	}
	text(&e.console, "console-socket")
	text(&e.pidfd, "pidfd-socket")
	text(&e.cwd, "cwd")
	text(&e.user, "user", "u")
	text(&e.process, "process", "p")
	text(&e.pidFile, "pid-file")
	text(&e.label, "process-label")
	text(&e.profile, "apparmor")
	list(&e.env, "env", "e")
	list(&e.gids, "additional-gids", "g")
	list(&e.caps, "cap", "c")
	list(&e.cgroups, "cgroup")
	toggle(&e.tty, "tty", "t")
	toggle(&e.detach, "detach", "d")
	toggle(&e.noNewPrivs, "no-new-privs")
	toggle(&e.ignorePaused, "ignore-paused")
	fs.IntVar(&e.preserve, "preserve-fds", 0, "")
	fs.Bool("no-subreaper", false, "")
}

func (a *app) exec(args []string) (int, error) {
	var e execFlags
	fs := newFlags("exec")
	e.define(fs)
	if err := a.parse(fs, args, 1, -1); err != nil {
		return 1, err
	}
	code, err := a.execIn(&e, fs.Arg(0), fs.Args()[1:])
	if err != nil {
		return 255, &exitError{255, fmt.Errorf("exec failed: %w", err)}
	}
	return code, nil
}

func (a *app) execIn(e *execFlags, id string, args []string) (int, error) {
	c, err := a.load(id)
	if err != nil {
		return 0, err
	}
	o, err := e.options(a, c, args)
	if err != nil {
		return 0, err
	}
	sig := catchSignals(e.detach)
	proc, err := c.Exec(a.ctx, o)
	if err != nil {
		return 0, err
	}
	a.debugExec(c, proc, o.Spec)
	if err := sendPidfd(e.pidfd, "setns", proc); err != nil {
		return 0, errors.Join(err, pidfd.Signal(proc.PIDFD, unix.SIGKILL))
	}
	if e.detach {
		return 0, nil
	}
	return foreground(proc, sig)
}

func (e *execFlags) options(a *app, c *oci.Container, args []string) (o oci.ExecOptions, err error) {
	if len(args) == 0 && e.process == "" {
		return o, errors.New("process args cannot be empty")
	}
	o = oci.ExecOptions{Stdio: [3]*os.File{os.Stdin, os.Stdout, os.Stderr}, ConsoleSocket: e.console,
		PlainLines: true, PidFile: e.pidFile, IgnorePaused: e.ignorePaused, Warn: a.warn}
	if o.Spec, err = e.describe(c, args); err != nil {
		return o, err
	}
	if err := needConsole(o.Spec, e.console, e.detach); err != nil {
		return o, err
	}
	if o.SubCgroup, err = subCgroups(e.cgroups); err != nil {
		return o, err
	}
	o.ExtraFiles, err = preserved(e.preserve, o.Spec)
	return o, err
}

// describe makes the process from a file, or from the container's own with the flags on top.
func (e *execFlags) describe(c *oci.Container, args []string) (*specs.Process, error) {
	if e.process != "" {
		b, err := os.ReadFile(e.process)
		if err != nil {
			return nil, err
		}
		p := new(specs.Process)
		if err := json.Unmarshal(b, p); err != nil {
			return nil, fmt.Errorf("%s: %w", e.process, err)
		}
		return p, nil
	}
	s, err := c.Spec()
	if err != nil {
		return nil, err
	}
	if s.Process == nil {
		return nil, errors.New("the container has no process to take settings from: use --process")
	}
	p := *s.Process
	p.Args, p.Terminal = args, e.tty
	if e.cwd != "" {
		p.Cwd = e.cwd
	}
	p.Env = append(append([]string{}, p.Env...), e.env...)
	p.NoNewPrivileges = p.NoNewPrivileges || e.noNewPrivs
	if e.label != "" {
		p.SelinuxLabel = e.label
	}
	if e.profile != "" {
		p.ApparmorProfile = e.profile
	}
	e.addCaps(&p)
	return &p, e.addUser(&p)
}

func (e *execFlags) addCaps(p *specs.Process) {
	if len(e.caps) == 0 {
		return
	}
	c := specs.LinuxCapabilities{}
	if p.Capabilities != nil {
		c = *p.Capabilities
	}
	more := func(l []string) []string { return append(append([]string{}, l...), e.caps...) }
	c.Bounding, c.Effective, c.Permitted = more(c.Bounding), more(c.Effective), more(c.Permitted)
	if c.Inheritable != nil { // without it there can be no ambient ones, and nobody asked for any
		c.Ambient = more(c.Ambient)
	}
	p.Capabilities = &c
}

func (e *execFlags) addUser(p *specs.Process) error {
	if e.user != "" {
		u, g, has := strings.Cut(e.user, ":")
		uid, err := parseID(u)
		if err != nil {
			return fmt.Errorf("--user %q: %w", e.user, err)
		}
		p.User.UID = uid
		if has {
			if p.User.GID, err = parseID(g); err != nil {
				return fmt.Errorf("--user %q: %w", e.user, err)
			}
		}
	}
	for _, g := range e.gids {
		gid, err := parseID(g)
		if err != nil {
			return fmt.Errorf("--additional-gids %q: %w", g, err)
		}
		p.User.AdditionalGids = append(p.User.AdditionalGids, gid)
	}
	return nil
}

// parseID takes decimal digits of a 32-bit id and nothing else: no sign, no space, no empty string, not 2^32-1, which
// the kernel reads as "leave it" (CVE-2026-30892, CVE-2024-40635).
func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || s[0] == '+' || n == 1<<32-1 {
		return 0, fmt.Errorf("%q is not a number from 0 to 4294967294", s)
	}
	return uint32(n), nil
}
