package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"skiff.dev/skiff/internal/oci"
)

// list of strings given by repeating a flag.
type repeated []string

func (r *repeated) String() string     { return strings.Join(*r, ",") }
func (r *repeated) Set(v string) error { *r = append(*r, v); return nil }

// execFlags are runc's.
type execFlags struct {
	console, cwd, user, process, pidFile, label, profile, cgroup string
	env, gids, caps                                              repeated
	tty, detach, noNewPrivs, ignorePaused                        bool
	preserve                                                     int
}

func (a *app) exec(args []string) (int, error) {
	var e execFlags
	fs := newFlags("exec")
	fs.StringVar(&e.console, "console-socket", "", "")
	fs.StringVar(&e.cwd, "cwd", "", "")
	for _, n := range []string{"env", "e"} {
		fs.Var(&e.env, n, "")
	}
	for _, n := range []string{"tty", "t"} {
		fs.BoolVar(&e.tty, n, false, "")
	}
	for _, n := range []string{"user", "u"} {
		fs.StringVar(&e.user, n, "", "")
	}
	for _, n := range []string{"additional-gids", "g"} {
		fs.Var(&e.gids, n, "")
	}
	for _, n := range []string{"process", "p"} {
		fs.StringVar(&e.process, n, "", "")
	}
	for _, n := range []string{"detach", "d"} {
		fs.BoolVar(&e.detach, n, false, "")
	}
	for _, n := range []string{"cap", "c"} {
		fs.Var(&e.caps, n, "")
	}
	fs.StringVar(&e.pidFile, "pid-file", "", "")
	fs.StringVar(&e.label, "process-label", "", "")
	fs.StringVar(&e.profile, "apparmor", "", "")
	fs.BoolVar(&e.noNewPrivs, "no-new-privs", false, "")
	fs.IntVar(&e.preserve, "preserve-fds", 0, "")
	fs.StringVar(&e.cgroup, "cgroup", "", "")
	fs.BoolVar(&e.ignorePaused, "ignore-paused", false, "")
	fs.Bool("no-subreaper", false, "")
	if helped, err := a.parse(fs, args, 1, -1); helped || err != nil {
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
	if len(args) == 0 && e.process == "" {
		return 0, errors.New("process args cannot be empty")
	}
	p, err := e.describe(c, args)
	if err != nil {
		return 0, err
	}
	if err := needConsole(p, e.console, e.detach); err != nil {
		return 0, err
	}
	extra, err := preserved(e.preserve, p)
	if err != nil {
		return 0, err
	}
	sig := catchSignals(e.detach)
	proc, err := c.Exec(a.ctx, oci.ExecOptions{Spec: p, Stdio: [3]*os.File{os.Stdin, os.Stdout, os.Stderr},
		ConsoleSocket: e.console, ExtraFiles: extra, PidFile: e.pidFile, SubCgroup: strings.Trim(e.cgroup, "/"),
		IgnorePaused: e.ignorePaused, Warn: a.warn})
	if err != nil {
		return 0, err
	}
	if e.detach {
		return 0, nil
	}
	return foreground(proc, sig)
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
