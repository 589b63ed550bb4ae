package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"go.skiff.dev/skiff/internal/oci"
)

// createFlags are what create and run have in common.
type createFlags struct {
	bundle, console, pidFile, pidfd string
	noPivot, noKeyring              bool
	preserve                        int
}

func (c *createFlags) define(fs *flag.FlagSet) {
	for _, n := range []string{"bundle", "b"} {
		fs.StringVar(&c.bundle, n, "", "")
	}
	fs.StringVar(&c.console, "console-socket", "", "")
	fs.StringVar(&c.pidFile, "pid-file", "", "")
	fs.StringVar(&c.pidfd, "pidfd-socket", "", "")
	fs.BoolVar(&c.noPivot, "no-pivot", false, "")
	fs.BoolVar(&c.noKeyring, "no-new-keyring", false, "")
	fs.IntVar(&c.preserve, "preserve-fds", 0, "")
}

// options reads the bundle.
func (c *createFlags) options(a *app, id string) (oci.CreateOptions, error) {
	bundle, err := filepath.Abs(c.bundle)
	if err != nil {
		return oci.CreateOptions{}, err
	}
	s, raw, err := readSpec(bundle)
	if err != nil {
		return oci.CreateOptions{}, err
	}
	extra, err := preserved(c.preserve, s.Process)
	if err != nil {
		return oci.CreateOptions{}, err
	}
	root, err := filepath.Abs(a.root)
	return oci.CreateOptions{
		ID: id, StateDir: root, Bundle: bundle, Spec: s, RawSpec: raw, ConsoleSocket: c.console, PidFile: c.pidFile,
		BareBinds: true, Systemd: a.systemd, NoPivot: c.noPivot, NoNewKeyring: c.noKeyring, ExtraFiles: extra, Warn: a.warn,
		Stdio: [3]*os.File{os.Stdin, os.Stdout, os.Stderr},
	}, err
}

// preserved are the caller's descriptors behind the standard ones: those of socket activation, then n more.
func preserved(n int, p *specs.Process) ([]*os.File, error) {
	if v := os.Getenv("LISTEN_FDS"); v != "" && p != nil {
		if k, err := strconv.Atoi(v); err == nil && k > 0 {
			n += k
			p.Env = append(p.Env, "LISTEN_FDS="+v, "LISTEN_PID=1")
		}
	}
	var out []*os.File
	for fd := 3; fd < 3+n; fd++ {
		if _, err := os.Stat("/proc/self/fd/" + strconv.Itoa(fd)); err != nil {
			return nil, fmt.Errorf("unable to stat preserved-fd %d (of %d): it is not open", fd-3, n)
		}
		out = append(out, os.NewFile(uintptr(fd), "preserved"))
	}
	return out, nil
}

func (a *app) create(args []string) (int, error) {
	var cf createFlags
	fs := newFlags("create")
	cf.define(fs)
	if err := a.parse(fs, args, 1, 1); err != nil {
		return 1, err
	}
	o, err := cf.options(a, fs.Arg(0))
	if err != nil {
		return 1, err
	}
	if err := needConsole(o.Spec.Process, cf.console, true); err != nil {
		return 1, err
	}
	if _, err = a.make(o, cf.pidfd); err != nil {
		return 1, a.notStarted("create", err)
	}
	return 0, nil
}

// make creates the container and hands its pidfd over.
func (a *app) make(o oci.CreateOptions, socket string) (*oci.Container, error) {
	c, err := oci.Create(a.ctx, o)
	if err != nil {
		return nil, err
	}
	a.debugCreated(c, o.Spec)
	if err := sendPidfd(socket, "standard", c.Init); err != nil {
		return nil, errors.Join(err, c.Delete(true))
	}
	return c, nil
}

// notStarted tells why in runc's words, which engines take apart: first whose fault it is, then which step it was.
func (a *app) notStarted(verb string, err error) error {
	if e, ok := errors.AsType[oci.InitError](err); ok {
		return fmt.Errorf("%s %s failed: unable to start container process: error during container init: error %w", a.name, verb, e)
	}
	return fmt.Errorf("%s %s failed: %w", a.name, verb, err)
}

// sendPidfd hands a descriptor of the process to who listens on the socket, with runc's word for the kind of process.
func sendPidfd(socket, kind string, p *oci.Process) error {
	if socket == "" {
		return nil
	}
	if err := oci.HandOver(socket, []byte(kind), p.PIDFD); err != nil {
		return fmt.Errorf("--pidfd-socket: %w", err)
	}
	return nil
}

func needConsole(p *specs.Process, socket string, detach bool) error {
	tty := p != nil && p.Terminal
	switch {
	case tty && detach && socket == "":
		return errors.New("cannot allocate tty if runc will detach without setting console socket")
	case socket != "" && (!tty || !detach):
		return errors.New("cannot use console socket if runc will not detach or allocate tty")
	}
	return nil
}

func (a *app) start(args []string) (int, error) {
	fs := newFlags("start")
	if err := a.parse(fs, args, 1, 1); err != nil {
		return 1, err
	}
	c, err := a.load(fs.Arg(0))
	if err != nil {
		return 1, err
	}
	return 0, c.Start(a.ctx)
}

func (a *app) runVerb(args []string) (int, error) {
	var cf createFlags
	fs := newFlags("run")
	cf.define(fs)
	detach := fs.Bool("detach", false, "")
	fs.BoolVar(detach, "d", false, "")
	keep := fs.Bool("keep", false, "")
	fs.Bool("no-subreaper", false, "")
	if err := a.parse(fs, args, 1, 1); err != nil {
		return 1, err
	}
	o, err := cf.options(a, fs.Arg(0))
	if err != nil {
		return 1, err
	}
	if err := needConsole(o.Spec.Process, cf.console, *detach); err != nil {
		return 1, err
	}
	o.Run = cf.pidfd == "" // else the process is not to run before its pidfd is handed over
	o.PlainLines = true    // a terminal of ours has its own way with them; with a socket it is the receiver's business
	sig := catchSignals(*detach)
	c, err := a.make(o, cf.pidfd)
	if err != nil {
		return 1, a.notStarted("run", err)
	}
	err = c.Start(a.ctx)
	if e, ok := errors.AsType[oci.ExecveError](err); ok {
		// To the one who waits for the program this is its end, not the runtime's: no log, as with runc.
		fmt.Fprintln(os.Stderr, e)
		return 1, c.Delete(true)
	}
	if err != nil {
		return 1, a.notStarted("run", errors.Join(err, c.Delete(true)))
	}
	a.debugf("container %s: started", c.ID)
	if *detach {
		return 0, nil
	}
	code, err := foreground(c.Init, sig)
	if !*keep {
		err = errors.Join(err, c.Delete(true))
	}
	return code, err
}
