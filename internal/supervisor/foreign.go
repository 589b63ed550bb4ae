package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/kernel/namespace"
	"go.skiff.dev/skiff/internal/kernel/pidfd"
	"go.skiff.dev/skiff/internal/oci"
)

// ociRuntime is what the supervisor asks of a container's runtime: of package oci,
// or of a program with the command line that runc has.
type ociRuntime interface {
	Start(ctx context.Context) error
	Kill(sig unix.Signal, all bool) error
	Delete(force bool) error
	Update(limits *specs.LinuxResources) error
	Pids() ([]int, error)
	OOMKills() (uint64, error)
	Exec(ctx context.Context, o oci.ExecOptions) (*oci.Process, error)
}

// foreign is a container of another OCI runtime.
type foreign struct {
	path, id string
	// dir is the bundle, root where the runtime keeps its own state.
	dir, root string
	cg        *cgroup.Manager
	exe       *os.File
	// monitor is the pid of the container's, 0 before there is one, and since
	// when it runs: it ends with the container, and then the pid is anybody's.
	monitor      int
	monitorStart uint64
	// patience bounds one call of the runtime.
	patience time.Duration
}

// foreignVersion is the version of the runtime specification that every runtime
// takes; older ones refuse a later one unread.
const foreignVersion = "1.0.2"

// foreignDir holds the bundles of containers of other runtimes.
func (s *server) foreignDir(id string) string { return filepath.Join(s.dir, "foreign", id) }

// exitFile is where the monitor writes how the container ended.
func (s *server) exitFile(id string) string { return filepath.Join(s.foreignDir(id), "exit") }

func (s *server) foreign(rec *record) (*foreign, error) {
	cg, err := cgroup.New(rec.CgroupPath)
	if err != nil {
		return nil, err
	}
	return &foreign{path: rec.Runtime, id: rec.ID, dir: s.foreignDir(rec.ID), root: filepath.Join(s.dir, "foreign-state"), cg: cg, exe: s.exe, monitor: rec.Monitor, monitorStart: rec.StartTicks, patience: runtimeTime}, nil
}

// load finds the runtime's side of a recorded container. Where that cannot be read, what is asked of it says so.
func (s *server) load(rec *record) (ociRuntime, error) {
	if rec.Runtime != "" {
		f, err := s.foreign(rec)
		if err != nil {
			return nil, err
		}
		return f, nil
	}
	own := ownRuntime{s.ociDir, rec.ID, rec.CgroupPath}
	return own, own.with(func(*oci.Container) error { return nil })
}

// createForeign makes the bundle and lets a monitor make the container.
func (s *server) createForeign(e *entry, m *createMessage, spec *specs.Spec, files [3]*os.File) error {
	f, err := s.foreign(&e.rec)
	if err != nil {
		return err
	}
	e.runc = f
	if err := f.makeBundle(); err != nil {
		return fmt.Errorf("making the bundle: %w", err)
	}
	plan := &monitorPlan{PidFile: f.file("pid"), ExitFile: s.exitFile(m.ID), Rootfs: m.Rootfs, Root: f.file("rootfs")}
	if m.Rootfs == nil && spec.Root != nil { // a directory, as it is
		if plan.Root = spec.Root.Path; !filepath.IsAbs(plan.Root) {
			plan.Root = filepath.Join(m.Bundle, plan.Root)
		}
	}
	var joined []*entry
	if spec, joined, err = s.foreignSpec(m, spec, plan); err != nil {
		return err
	}
	data, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("encoding the specification: %w", err)
	}
	if err := os.WriteFile(f.file("config.json"), data, 0o600); err != nil {
		return fmt.Errorf("making the bundle: %w", err)
	}
	args := []string{"create", "--bundle", f.dir, "--pid-file", plan.PidFile, f.id}
	made, err := f.monitored(plan, f.dir, args, files, spec.Process.Terminal)
	if err != nil {
		return err
	}
	f.monitor = made.monitor
	e.rec.PID, e.rec.Monitor, e.pidfd = made.container, made.monitor, made.pidfd
	if e.rec.StartTicks, _, err = pidfd.StartTime(made.monitor); err != nil {
		return fmt.Errorf("reading the start time of the monitor: %w", err)
	}
	f.monitorStart = e.rec.StartTicks
	for _, other := range joined {
		if !other.alive() {
			return fmt.Errorf("joining a namespace: %w", stateError(other.rec.ID, PhaseExited, "running"))
		}
	}
	return e.takeConsole(s, made.console)
}

// makeBundle makes the directories. Root of a user namespace must be able to pass through to its root: those above are
// closed to the host's users, and opened by the monitor (mount.OpenUp), for which they have to hold all that is needed.
func (f *foreign) makeBundle() error {
	err := os.MkdirAll(f.root, 0o700)
	if err == nil {
		err = os.MkdirAll(f.dir, 0o711)
	}
	for _, dir := range []string{filepath.Dir(f.dir), f.dir} {
		if err == nil {
			err = os.Chmod(dir, 0o711)
		}
	}
	return err
}

// foreignSpec is the specification with paths in place of what our own runtime
// is told by descriptors.
func (s *server) foreignSpec(m *createMessage, spec *specs.Spec, plan *monitorPlan) (*specs.Spec, []*entry, error) {
	out := &specs.Spec{}
	if err := json.Unmarshal(m.Spec, out); err != nil { // a copy that is nobody else's
		return nil, nil, err
	}
	out.Version = foreignVersion
	out.Root = &specs.Root{Path: plan.Root, Readonly: spec.Root != nil && spec.Root.Readonly}
	var joined []*entry
	for i, ns := range out.Linux.Namespaces {
		id, ok := m.Join[ns.Type]
		if !ok {
			continue
		}
		other, err := s.find(id)
		if err != nil {
			return nil, nil, fmt.Errorf("joining a namespace: %w", err)
		}
		state := other.public.Load()
		out.Linux.Namespaces[i].Path = namespace.Path(state.PID, string(ns.Type))
		if ns.Type == specs.UserNamespace {
			plan.Users = out.Linux.Namespaces[i].Path
			plan.Owner = owner{mapID(0, out.Linux.UIDMappings), mapID(0, out.Linux.GIDMappings)}
		}
		joined = append(joined, other)
	}
	for i, image := range m.Images {
		place := filepath.Join(s.foreignDir(m.ID), "image-"+strconv.Itoa(i))
		plan.Images = append(plan.Images, placedImage{image, place})
		for j := range out.Mounts {
			if out.Mounts[j].Destination == image.Destination {
				out.Mounts[j].Source = place
			}
		}
	}
	return out, joined, nil
}

func (f *foreign) file(name string) string { return filepath.Join(f.dir, name) }

// monitored is a process that a monitor has made.
type monitored struct {
	container, monitor int
	// pidfd is the monitor's.
	pidfd   *os.File
	console *os.File
}

// monitored runs the runtime under a monitor; args are its verb and what comes
// behind. The plan is written as dir/plan.json.
func (f *foreign) monitored(plan *monitorPlan, dir string, args []string, files [3]*os.File, tty bool) (_ *monitored, err error) {
	var console *consoleSocket
	if tty {
		if console, err = listenConsole(); err != nil {
			return nil, err
		}
		defer console.close()
		args = slices.Insert(args, 1, "--console-socket", console.path)
	}
	plan.Runtime, plan.ErrorFile = f.path, filepath.Join(dir, "log")
	plan.Args = append([]string{"--root", f.root, "--log", plan.ErrorFile, "--log-format", "json"}, args...)
	data, err := json.Marshal(plan)
	if err != nil {
		return nil, fmt.Errorf("encoding the monitor's plan: %w", err)
	}
	path := filepath.Join(dir, "plan.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return nil, fmt.Errorf("writing the monitor's plan: %w", err)
	}
	made, err := f.fork(path, files, nil)
	if err != nil || console == nil {
		return made, err
	}
	if made.console, err = console.receive(consoleTime); err != nil {
		_ = pidfd.Signal(made.pidfd, unix.SIGKILL)
		_, _ = pidfd.Wait(made.pidfd)
		made.pidfd.Close()
		return nil, err
	}
	return made, nil
}

// fork starts the monitor and waits for its answer. The plan is a path or a file.
func (f *foreign) fork(path string, files [3]*os.File, plan *os.File) (*monitored, error) {
	answer, theirs, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting a monitor: %w", err)
	}
	defer answer.Close()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		theirs.Close()
		return nil, fmt.Errorf("starting a monitor: %w", err)
	}
	defer null.Close()
	var fds []uintptr
	for _, std := range files {
		if std == nil {
			std = null
		}
		fds = append(fds, std.Fd())
	}
	fds = append(fds, f.exe.Fd(), theirs.Fd())
	args := []string{"skiff-oci", "monitor"}
	if plan == nil {
		args = append(args, path)
	} else {
		fds = append(fds, plan.Fd())
	}
	fd := -1
	pid, err := syscall.ForkExec("/proc/self/fd/3", args, &syscall.ProcAttr{
		Dir: "/", Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Files: fds, Sys: &syscall.SysProcAttr{Setsid: true, PidFD: &fd},
	})
	runtime.KeepAlive(plan)
	theirs.Close()
	if err != nil {
		return nil, fmt.Errorf("starting a monitor: %w", err)
	}
	out := &monitored{monitor: pid, pidfd: os.NewFile(uintptr(fd), "monitor")}
	_ = answer.SetReadDeadline(time.Now().Add(f.patience))
	text, err := io.ReadAll(io.LimitReader(answer, 64<<10))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%s does not end within %s", filepath.Base(f.path), f.patience)
	}
	if err == nil {
		if _, scanErr := fmt.Sscanf(string(text), "pid %d", &out.container); scanErr != nil {
			err = errors.New(strings.TrimPrefix(string(text), "error "))
		}
	}
	if err != nil {
		_ = pidfd.Signal(out.pidfd, unix.SIGKILL)
		_, _ = pidfd.Wait(out.pidfd)
		out.pidfd.Close()
		return nil, err
	}
	return out, nil
}

// scratch is a directory for one call.
func (f *foreign) scratch() (string, error) {
	dir, err := os.MkdirTemp(f.dir, "call-")
	if err != nil {
		return "", fmt.Errorf("making a directory for %s: %w", filepath.Base(f.path), err)
	}
	return dir, nil
}

// call runs a verb of the runtime to its end. It writes nothing, so that a container is ended and removed on a full disk.
func (f *foreign) call(args ...string) error {
	plan := &monitorPlan{Runtime: f.path, Args: append([]string{"--root", f.root}, args...), Monitor: f.monitor, MonitorStart: f.monitorStart}
	data, err := json.Marshal(plan)
	if err != nil {
		return fmt.Errorf("encoding the monitor's plan: %w", err)
	}
	fd, err := unix.MemfdCreate("plan", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("%s: memfd_create: %w", args[0], err)
	}
	file := os.NewFile(uintptr(fd), "plan")
	defer file.Close()
	if _, err := file.WriteAt(data, 0); err != nil {
		return fmt.Errorf("%s: writing the monitor's plan: %w", args[0], err)
	}
	done, err := f.fork("", [3]*os.File{}, file)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	defer done.pidfd.Close()
	_, err = pidfd.Wait(done.pidfd)
	return err
}

// Start runs the program of the created container.
func (f *foreign) Start(context.Context) error { return f.call("start", f.id) }

// Kill asks the runtime, which knows where its processes are, and then the
// kernel about what is left in the cgroup.
func (f *foreign) Kill(sig unix.Signal, all bool) error {
	err := f.call("kill", f.id, strconv.Itoa(int(sig)))
	if all && sig == unix.SIGKILL && f.cg.Exists() {
		return f.cg.Kill(sig)
	}
	if err == nil {
		return nil
	}
	if pids, gone := f.cg.Procs(); gone != nil || len(pids) == 0 {
		return oci.ErrNotRunning
	}
	return err
}

// Delete removes what the runtime and the monitor have left.
func (f *foreign) Delete(force bool) error {
	args := []string{"delete", f.id}
	if force {
		args = slices.Insert(args, 1, "--force")
	}
	err := f.call(args...)
	if f.cg.Exists() {
		_ = f.cg.Kill(unix.SIGKILL)
		if gone := f.cg.Destroy(); gone != nil {
			return errors.Join(err, gone)
		}
	}
	// Without its cgroup nothing of it runs; what the runtime said of a
	// container that it does not know any more is no matter. Where runc and crun
	// have theirs, one that failed early may have left something.
	return errors.Join(os.RemoveAll(filepath.Join(f.root, f.id)), os.RemoveAll(f.dir))
}

// Update changes limits.
func (f *foreign) Update(limits *specs.LinuxResources) error {
	dir, err := f.scratch()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "limits.json")
	data, err := json.Marshal(limits)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("writing limits: %w", err)
	}
	return f.call("update", "--resources", path, f.id)
}

// Pids are those of the cgroup.
func (f *foreign) Pids() ([]int, error) { return f.cg.Procs() }

// OOMKills are counted by the cgroup.
func (f *foreign) OOMKills() (uint64, error) { return f.cg.OOMKills() }

// Exec runs a process under a monitor of its own. PID is the process's, PIDFD
// the monitor's.
func (f *foreign) Exec(_ context.Context, o oci.ExecOptions) (*oci.Process, error) {
	data, err := json.Marshal(o.Spec)
	if err != nil {
		return nil, err
	}
	dir, err := f.scratch()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	process := filepath.Join(dir, "process.json")
	if err := os.WriteFile(process, data, 0o600); err != nil {
		return nil, fmt.Errorf("writing the process: %w", err)
	}
	plan := &monitorPlan{PidFile: filepath.Join(dir, "pid"), Monitor: f.monitor, MonitorStart: f.monitorStart}
	made, err := f.monitored(plan, dir, []string{"exec", "--detach", "--process", process, "--pid-file", plan.PidFile, f.id}, o.Stdio, o.Spec.Terminal)
	if err != nil {
		return nil, err
	}
	return &oci.Process{PID: made.container, PIDFD: made.pidfd, Console: made.console}, nil
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}
