package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/kernel/pidfd"
)

// creation is one Create on its way; undo holds what to take back, newest last.
type creation struct {
	netNS *os.File // the network namespace that is joined, while network devices are to be moved there

	o     CreateOptions
	c     *Container
	plan  plan
	sp    spawn
	files fileList
	wire  *wire
	child *child
	scope scope // with systemd
	undo  []func()

	rest    *cgroup.Manager // the cgroups that are still to be made; nil: none
	newNet  bool            // a network namespace is still to be made
	existed bool            // some cgroup was there before
	limited bool            // the cgroup has its limits
	hooked  bool            // hooks began to run
	told    bool            // init was told to go on
}

// Create prepares a container up to the moment before its process starts; every step is undone when a later one fails.
func Create(ctx context.Context, o CreateOptions) (*Container, error) {
	return create(ctx, o, createParentSteps())
}

func create(ctx context.Context, o CreateOptions, steps []parentStep) (*Container, error) {
	if err := validID(o.ID); err != nil {
		return nil, err
	}
	if err := Validate(o.Spec); err != nil {
		return nil, err
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	cr := &creation{o: o, c: &Container{ID: o.ID, Dir: filepath.Join(o.StateDir, o.ID), Warn: o.Warn, spec: o.Spec}}
	defer cr.files.closeAll()
	defer cr.scope.close()
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			cr.rollback()
			return nil, err
		}
		if err := step.do(cr, ctx); err != nil {
			err = cr.shortOfMemory(err)
			cr.rollback()
			return nil, fmt.Errorf("creating container %q: %w", o.ID, err)
		}
	}
	return cr.c, nil
}

// shortOfMemory tells, in runc's words, why init is dead where the kernel killed it for its limit.
func (cr *creation) shortOfMemory(err error) error {
	if cr.child == nil || cr.c.cg == nil {
		return err
	}
	if kills, e := cr.c.OOMKills(); e != nil || kills == 0 {
		return err
	}
	return fmt.Errorf("linux.resources.memory: container init was OOM-killed (memory limit too low?): %w", err)
}

type parentStep struct {
	name string
	do   func(*creation, context.Context) error
}

// createParentSteps is the parent's half of making a container, in order.
func createParentSteps() []parentStep {
	return []parentStep{
		{"directory", (*creation).makeDir},
		{"namespaces", (*creation).planNamespaces},
		{"cgroup", (*creation).makeCgroup},
		{"clone", (*creation).cloneInit},
		{"record", (*creation).saveCreating}, // from here on init's runtime starts
		{"configuration", (*creation).saveSpec},
		{"plan", (*creation).makePlan},
		{"rest", (*creation).makeRest},
		{"network", (*creation).makeNetwork},
		{"socket", (*creation).listenStart},
		{"unit", (*creation).startScope},
		{"limits", (*creation).placeInit},
		{"handshake", (*creation).handshake},
		{"state", (*creation).saveCreated},
	}
}

// rollback first ends init, or what it is in could not be removed, and all that init, its hooks or its process began.
func (cr *creation) rollback() {
	if cr.told && cr.c.rec.SharedPID {
		_ = cr.c.cg.Kill(unix.SIGKILL)
	}
	if cr.child != nil {
		cr.child.kill()
	}
	for _, f := range slices.Backward(cr.undo) {
		f()
	}
}

func (cr *creation) onFail(f func()) { cr.undo = append(cr.undo, f) }

func (cr *creation) makeDir(context.Context) error {
	if err := os.MkdirAll(cr.o.StateDir, 0o700); err != nil {
		return err
	}
	err := os.Mkdir(cr.c.Dir, 0o700)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("container with id %q: %w", cr.o.ID, ErrExists)
	}
	if err != nil {
		return err
	}
	cr.onFail(func() { os.RemoveAll(cr.c.Dir) })
	return nil
}

func (cr *creation) saveSpec(context.Context) (err error) {
	raw := cr.o.RawSpec
	if raw == nil {
		if raw, err = json.Marshal(cr.o.Spec); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(cr.c.Dir, specFile), raw, 0o600)
}

// listenStart makes the socket on which init waits, unless who creates also starts. It is bound through a descriptor of the
// directory, because a path may be longer than a socket address allows.
func (cr *creation) listenStart(context.Context) error {
	if cr.plan.listen, cr.plan.stateDir = -1, -1; cr.o.Run {
		if cr.goesStraight() {
			return cr.planStraight()
		}
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), startSock)
	cr.plan.listen = cr.files.add(f, true)
	return withShortPath(cr.c.Dir, startSock, func(addr *unix.SockaddrUnix) error {
		if err := unix.Bind(fd, addr); err != nil {
			return os.NewSyscallError("bind", err)
		}
		return os.NewSyscallError("listen", unix.Listen(fd, 1))
	})
}

// goesStraight tells whether init becomes the process as soon as all is prepared: the caller is about to start it, and
// nothing is to happen in between. The root of another user namespace could not put the record in its place.
func (cr *creation) goesStraight() bool {
	l := cr.o.Spec.Linux
	few := l != nil && l.Resources != nil && fewPids(l.Resources)
	return cr.o.Run && cr.o.PidFile == "" && cr.o.Spec.Hooks == nil && cr.o.Spec.Process != nil && !few &&
		!cr.plan.process.seccompNotify && !cr.mapped()
}

// planStraight gives init the directory in which it puts the record in its place (saveStraight): nobody is to find the
// process running and read that its container is being made, also if we are slow or are killed.
func (cr *creation) planStraight() error {
	dir, err := os.OpenFile(cr.c.Dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	cr.plan.straight, cr.plan.stateDir = true, cr.files.add(dir, true)
	return nil
}

// saveStraight writes the record that is true once init is ready, beside the one that is true now.
func (cr *creation) saveStraight() error {
	rec := cr.c.rec
	rec.Creating = false
	b, err := json.Marshal(&rec)
	if err == nil {
		err = os.WriteFile(filepath.Join(cr.c.Dir, nextFile), b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("saving the container's state: %w", err)
	}
	return nil
}

func withShortPath(dir, name string, f func(*unix.SockaddrUnix) error) error {
	d, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(d)
	return f(&unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(d) + "/" + name})
}

func (cr *creation) cloneInit(context.Context) error {
	cr.sp.brief = cr.o.Run
	if cr.sp.exe = cr.o.Exe; cr.sp.exe == nil {
		exe, err := SealedSelf()
		if err != nil {
			return err
		}
		defer exe.Close()
		cr.sp.exe = exe
	}
	if cr.mapped() {
		cr.sp.joinEarly(cr.plan.joins, &cr.files)
	}
	if cr.early() && cr.sp.clone&unix.CLONE_NEWNET != 0 {
		// The kernel takes longer for this one than for all others together: it is made while init's runtime starts.
		cr.sp.clone &^= unix.CLONE_NEWNET
		cr.newNet = true
	}
	child, err := cr.sp.run()
	if err != nil {
		return cr.mappingError(err)
	}
	cr.child = child
	cr.plan.joins = cr.sp.left(cr.plan.joins, &cr.files)
	if cr.sp.userNS != nil { // mapSource may need it
		fd, err := unix.FcntlInt(cr.sp.userNS.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
		}
		cr.sp.userNS = os.NewFile(uintptr(fd), "userns")
		cr.files.late = append(cr.files.late, cr.sp.userNS)
	}
	cr.files.files[cr.files.born-1].Close() // init's socket must be the only one, or its death would go unseen
	cr.c.Init = &Process{PID: cr.child.pid, PIDFD: cr.child.pidfd}
	return nil
}

// mappingError names the field that the kernel does not take: ranges that overlap (EINVAL), or more than an ordinary user may
// map, which is one id, his own (EPERM; newuidmap could, which engines run themselves).
func (cr *creation) mappingError(err error) error {
	if cr.sp.clone&unix.CLONE_NEWUSER == 0 || !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
		return err
	}
	if errors.Is(err, unix.EPERM) && UnderUser() {
		err = fmt.Errorf("an ordinary user can map his own id only: %w", err)
	}
	return fmt.Errorf("linux.uidMappings, linux.gidMappings: %w", err)
}

// saveCreating comes as early as the pid is known, so that `delete --force` finds what a killed caller left.
func (cr *creation) saveCreating(context.Context) error {
	start, _, err := pidfd.StartTime(cr.child.pid)
	if err != nil {
		return cr.child.died()
	}
	o := &cr.o
	unit, user := cr.c.rec.Unit, cr.c.rec.UserUnit
	cr.c.rec = record{
		Unit: unit, UserUnit: user, Version: specs.Version, ID: o.ID, PID: cr.child.pid, Start: start, Boot: bootID(), Bundle: o.Bundle,
		Cgroup: cr.c.cg.Path, Created: time.Now().UTC(), Owner: os.Getuid(), Creating: true,
		Annotations: o.Spec.Annotations, Namespaces: namespaceFlags(o.Spec), Hooks: o.Spec.Hooks != nil,
	}
	if len(cr.c.cg.Dirs()) > 0 && cr.c.cg.Relative() {
		cr.c.rec.CgroupDirs = cr.c.cg.Dirs()
	}
	_, newPID := findNamespace(o.Spec, specs.PIDNamespace)
	cr.c.rec.SharedPID, cr.c.rec.OldKeyring = !newPID, o.NoNewKeyring
	if cr.c.rec.Rootfs = absRoot(o); o.Rootfs != nil {
		cr.c.rec.Rootfs = o.Rootfs.Upper
	}
	return cr.c.save()
}

func (cr *creation) placeInit(context.Context) error {
	cr.plan.stateJSON = cr.c.hookState(specs.StateCreating)
	cr.plan.process.keepGroups = len(cr.plan.process.groups) == 0 && !mayDropGroups(strconv.Itoa(cr.child.pid))
	if err := cr.sp.deliver(&cr.plan, &cr.files, cr.wire, cr.child); err != nil {
		return err
	}
	if err := cr.keepNetNS(); err != nil {
		return err
	}
	cr.files.close()
	if cr.plan.straight {
		if err := cr.saveStraight(); err != nil {
			return err
		}
	}
	if !cr.limited { // while init's runtime starts; init does nothing before it is told to
		if err := cr.setLimits(); err != nil {
			return err
		}
	}
	if !cr.child.placed {
		if err := cr.c.cg.Add(cr.child.pid, nil); err != nil {
			return err
		}
	}
	if err := cr.moveDevices(); err != nil {
		return err
	}
	setOOMScore(cr.child.pid, &cr.plan.process, cr.o.Warn)
	cr.told = true
	err := cr.wire.send(msgGo, nil)
	if lost(err) {
		return cr.child.died()
	}
	return err
}

// setOOMScore lowers the score only where CAP_SYS_RESOURCE allows it.
func setOOMScore(pid int, p *processPlan, warn func(string)) {
	if !p.hasOOM {
		return
	}
	path := "/proc/" + strconv.Itoa(pid) + "/oom_score_adj"
	if err := os.WriteFile(path, []byte(strconv.Itoa(p.oomAdj)), 0); err != nil {
		warn("process.oomScoreAdj " + strconv.Itoa(p.oomAdj) + " is not applied: " + err.Error())
	}
}

func (cr *creation) handshake(ctx context.Context) error {
	stop := cr.wire.watch(ctx)
	defer stop()
	h := &handshake{wire: cr.wire, child: cr.child, warn: cr.o.Warn, proc: cr.c.Init, consoleSocket: cr.o.ConsoleSocket}
	h.mapMount = cr.mapSource
	h.sync = func() error {
		cr.hooked = true
		return cr.c.runtimeHooks(ctx, cr.o.Spec.Hooks)
	}
	if err := h.run(); err != nil {
		// What hooks set up, poststop hooks take down (runtime.md, "Lifecycle", 3 to 5 and 13).
		if cr.hooked || len(cr.plan.create) > 0 {
			cr.undo = slices.Insert(cr.undo, 0, func() { cr.c.poststop(cr.o.Spec.Hooks) })
		}
		return err
	}
	if err := cr.limitPids(); err != nil {
		return err
	}
	if cr.o.Run {
		cr.c.starter = cr.wire
		return nil
	}
	return cr.wire.f.Close()
}

func (cr *creation) saveCreated(context.Context) error {
	cr.c.rec.Creating = false
	if cr.plan.process.seccompNotify {
		cr.c.rec.Listener = cr.o.Spec.Linux.Seccomp.ListenerPath
	}
	if cr.plan.straight { // init does
		cr.c.straight = true
		return nil
	}
	if err := cr.c.save(); err != nil {
		return err
	}
	if cr.o.PidFile == "" {
		return nil
	}
	return replaceFile(cr.o.PidFile, []byte(strconv.Itoa(cr.child.pid)), 0o644)
}
