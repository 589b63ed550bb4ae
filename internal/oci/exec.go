package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/kernel/namespace"
)

// Exec runs one more process in the container: it joins init's namespaces and cgroup and is a child of the caller.
// It returns when execve has happened, or with its error.
func (c *Container) Exec(ctx context.Context, o ExecOptions) (*Process, error) {
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	p, err := c.exec(ctx, &o)
	if err != nil {
		return nil, fmt.Errorf("executing in container %q: %w", c.ID, err)
	}
	if o.PidFile != "" {
		err = replaceFile(o.PidFile, []byte(strconv.Itoa(p.PID)), 0o644)
	}
	return p, err
}

func (c *Container) exec(ctx context.Context, o *ExecOptions) (_ *Process, err error) {
	if err := c.canExec(o); err != nil {
		return nil, err
	}
	var files fileList
	defer files.close()
	pl := plan{exec: true, listen: -1, stateDir: -1, rootFD: -1}
	if err := files.stdio(o.Stdio, o.ExtraFiles); err != nil {
		return nil, err
	}
	pl.fds = len(files.list())
	spec, err := c.Spec()
	if err != nil {
		return nil, err
	}
	sp := withDefaults(o.Spec, spec.Process)
	if err := checkProcess(&specs.Spec{Process: sp}); err != nil {
		return nil, err
	}
	if err := planProcess(&pl.process, sp, spec, o.Seccomp, o.Warn); err != nil {
		return nil, err
	}
	sw := &spawn{exe: o.Exe, brief: true}
	if sw.exe == nil {
		if sw.exe, err = SealedSelf(); err != nil {
			return nil, err
		}
		defer sw.exe.Close()
	}
	pl.process.keepGroups = len(pl.process.groups) == 0 && !mayDropGroups(strconv.Itoa(c.Init.PID))
	pl.process.plainLines = o.PlainLines && o.ConsoleSocket == ""
	pl.process.newKeyring, pl.process.keyring = !c.rec.OldKeyring, keyringName(c.ID)
	if err := execAffinity(sw, &pl.process, sp.ExecCPUAffinity); err != nil {
		return nil, err
	}
	w, theirs, err := newWire()
	if err != nil {
		return nil, err
	}
	defer w.f.Close()
	sw.files = files.socket(theirs)
	c.joinAll(sw, &pl, &files)
	if o.SubCgroup == nil && c.cg.Roomy() {
		if err := sw.bornIn(c.cg, &files); err != nil {
			return nil, err
		}
	}
	if sw.userNS != nil {
		sw.joinEarly(pl.joins, &files)
	}
	ch, err := sw.run()
	if err != nil {
		return nil, err
	}
	pl.joins = sw.left(pl.joins, &files)
	theirs.Close()
	proc := &Process{PID: ch.pid, PIDFD: ch.pidfd}
	if err := c.finishExec(ctx, o, w, ch, proc, sw, &pl, &files); err != nil {
		ch.kill()
		if proc.Console != nil {
			proc.Console.Close()
		}
		return nil, err
	}
	return proc, nil
}

func (c *Container) canExec(o *ExecOptions) error {
	if o.Spec == nil {
		return errors.New("the process is not described")
	}
	st, err := c.Status()
	if err != nil {
		return err
	}
	switch st {
	case specs.StateRunning, specs.StateCreated:
		return nil
	case StatePaused:
		if o.IgnorePaused {
			return nil
		}
		return errors.New("cannot exec in a paused container (use --ignore-paused to override)")
	}
	return fmt.Errorf("cannot exec in a %s container: %w", st, ErrNotRunning)
}

// joinAll enters every namespace that the container was configured with, through init's pidfd (setns with a pidfd,
// Linux 5.8): one call, and no pid that could be someone else's by now.
func (c *Container) joinAll(sp *spawn, pl *plan, files *fileList) {
	ns := c.rec.Namespaces
	if ns&unix.CLONE_NEWPID != 0 {
		sp.pidNS = c.Init.PIDFD
	}
	if ns&unix.CLONE_NEWUSER != 0 && !c.sharesUserNS() {
		sp.userNS = c.Init.PIDFD
	}
	if ns&unix.CLONE_NEWTIME != 0 {
		sp.timeNS = c.Init.PIDFD
	}
	own := ns &^ (unix.CLONE_NEWPID | unix.CLONE_NEWUSER | unix.CLONE_NEWTIME)
	if own == 0 {
		return
	}
	pl.joins = []join{{fd: files.add(c.Init.PIDFD, false), flag: own}}
}

// sharesUserNS tells whether the container is in our own user namespace, which cannot be entered again.
func (c *Container) sharesUserNS() bool {
	return namespace.Same(fmt.Sprintf("/proc/%d/ns/user", c.Init.PID), "/proc/self/ns/user")
}

func (c *Container) finishExec(ctx context.Context, o *ExecOptions, w *wire, ch *child, proc *Process, sw *spawn, pl *plan, files *fileList) error {
	if err := sw.deliver(pl, files, w, ch); err != nil {
		return err
	}
	files.close()
	if !ch.placed {
		if err := c.addExec(ch.pid, o.SubCgroup); err != nil {
			return err
		}
	}
	setOOMScore(ch.pid, &pl.process, o.Warn)
	agent, err := c.dialAgent()
	if err != nil {
		return err
	}
	defer agent.Close()
	if err := w.send(msgGo, nil); err != nil {
		return ch.died()
	}
	defer w.watch(ctx)()
	h := &handshake{wire: w, child: ch, warn: o.Warn, proc: proc, consoleSocket: o.ConsoleSocket}
	if err := h.run(); err != nil {
		return err
	}
	return c.awaitExecve(w, agent, ch.pid, specs.StateRunning, o.Warn)
}

// awaitExecve hears init out: the end of the socket says that execve happened, or there is the reason why it did not.
func (c *Container) awaitExecve(w *wire, agent *os.File, pid int, st specs.ContainerState, warn func(string)) error {
	for {
		kind, body, file, err := w.receive()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case kind == msgListener:
			if err := c.sendListener(agent, file, pid, st); err != nil {
				return err
			}
		case kind == msgWarning:
			warn(string(body))
		case kind == msgError:
			return InitError(body)
		case kind == msgExecve:
			return ExecveError(body)
		default:
			return fmt.Errorf("message %q in place of the end", kind)
		}
	}
}

// withDefaults gives a further process what its description leaves out and the container's own has. Above all the
// capabilities: a process without a list would have all of them.
func withDefaults(p, own *specs.Process) *specs.Process {
	if own == nil {
		return p
	}
	out := *p
	if out.Capabilities == nil {
		out.Capabilities = own.Capabilities
	}
	if out.Rlimits == nil {
		out.Rlimits = own.Rlimits
	}
	if out.OOMScoreAdj == nil {
		out.OOMScoreAdj = own.OOMScoreAdj
	}
	if out.Scheduler == nil {
		out.Scheduler = own.Scheduler
	}
	if out.IOPriority == nil {
		out.IOPriority = own.IOPriority
	}
	if out.ApparmorProfile == "" {
		out.ApparmorProfile = own.ApparmorProfile
	}
	if out.SelinuxLabel == "" {
		out.SelinuxLabel = own.SelinuxLabel
	}
	return &out
}

// execAffinity gives init the initial CPUs before it enters the cgroup, and the process the final ones; without those
// it keeps what it has.
func execAffinity(sw *spawn, p *processPlan, a *specs.CPUAffinity) (err error) {
	if a == nil {
		return nil
	}
	p.keepAffinity = true
	for _, f := range [...]struct {
		field, list string
		to          *[]byte
	}{{"initial", a.Initial, &sw.affinity}, {"final", a.Final, &p.affinity}} {
		if f.list == "" {
			continue
		}
		if *f.to, err = CPUSet(f.list); err != nil {
			return fmt.Errorf("process.execCPUAffinity.%s: %w", f.field, err)
		}
	}
	return nil
}

// addExec puts a process beside init. On v2 a container that made cgroups of its own (systemd, a nested runtime) has no
// room at its top any more (EBUSY), or has left it and it is gone: then the process goes where init is.
func (c *Container) addExec(pid int, sub cgroup.Sub) error {
	err := c.cg.Add(pid, sub)
	if sub == nil && c.cg.Layout.V2 && (errors.Is(err, unix.EBUSY) || errors.Is(err, os.ErrNotExist)) {
		return c.cg.AddBeside(pid, c.Init.PID)
	}
	return err
}

// namespaceFlags are the namespaces that a configuration names, new or joined.
func namespaceFlags(s *specs.Spec) (flags uint64) {
	if s.Linux == nil {
		return 0
	}
	for _, ns := range s.Linux.Namespaces {
		if k, ok := namespace.ByType(string(ns.Type)); ok {
			flags |= uint64(k.Flag)
		}
	}
	return flags
}
