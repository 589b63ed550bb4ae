package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec" //nolint:depguard // the programs that it runs are OCI runtimes which the administrator named
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/kernel/mount"
	"go.skiff.dev/skiff/internal/kernel/pidfd"
)

// A container of a foreign OCI runtime (runc, crun, runsc) is no child of the
// supervisor: the runtime's command makes it and goes away. A monitor, one small
// process per container and per exec, takes the parent's part, because who asks
// to be the reaper of orphans (PR_SET_CHILD_SUBREAPER) gets them all, and the
// supervisor has other containers' to leave alone:
//
//	supervisor                         monitor                           runtime
//	fork, plan.json             ->     subreaper, own mount namespace,
//	                                   layers mounted in it
//	                                   fork                        ->    create | exec --detach
//	                            <-     pid, or what went wrong           ends; its process is the monitor's
//	                                   reaps, writes the exit file
//	waits for the monitor       <-     exits with the process's code
//
// The exit file tells a supervisor that is not the monitor's parent any more.

// monitorPlan is what a monitor does.
type monitorPlan struct {
	// Runtime is the program, Args what it is called with.
	Runtime string   `json:"runtime"`
	Args    []string `json:"args"`
	// PidFile is written by the runtime, ErrorFile when it fails, ExitFile by
	// the monitor. Without a PidFile the runtime's own end is the answer.
	PidFile   string `json:"pidFile,omitempty"`
	ErrorFile string `json:"errorFile,omitempty"`
	ExitFile  string `json:"exitFile,omitempty"`
	// Monitor is the pid of the container's own, whose mounts are used, and
	// MonitorStart the time of its start.
	Monitor      int    `json:"monitor,omitempty"`
	MonitorStart uint64 `json:"monitorStart,omitempty"`
	// Rootfs, if any, is mounted on Root, Images on their places; both in the monitor's
	// mount namespace, so that nobody else sees them.
	Rootfs *Overlay `json:"rootfs,omitempty"`
	Root   string   `json:"root,omitempty"`
	// Users is the path of the container's user namespace, where it is not the host's, Owner what its root is on the host.
	Users  string        `json:"users,omitempty"`
	Owner  owner         `json:"owner,omitzero"`
	Images []placedImage `json:"images,omitempty"`
}

// placedImage is an image volume and the path that shows it.
type placedImage struct {
	ImageMount
	Place string `json:"place"`
}

const (
	// monitorAnswer is the descriptor on which a monitor answers.
	monitorAnswer = 4
	// monitorPlanFD has the plan, if no path is given.
	monitorPlanFD = 5
)

// Monitor is a role of the skiff-oci program; its argument is the plan's path.
func Monitor(args []string) int {
	answer := os.NewFile(monitorAnswer, "answer")
	// What it runs must get neither the program nor the answer's descriptor.
	unix.CloseOnExec(monitorAnswer - 1)
	unix.CloseOnExec(monitorAnswer)
	plan, dir := &monitorPlan{}, "/"
	var err error
	switch len(args) {
	case 0:
		unix.CloseOnExec(monitorPlanFD)
		err = json.NewDecoder(io.NewSectionReader(os.NewFile(monitorPlanFD, "plan"), 0, 1<<30)).Decode(plan)
	case 1:
		dir = filepath.Dir(args[0])
		var held *os.File
		if held, err = plan.take(args[0]); err == nil {
			defer held.Close()
		}
	default:
		return exitUsage
	}
	if err == nil {
		err = plan.run(dir)
	}
	pid := 0
	if err == nil && plan.PidFile != "" {
		pid, err = plan.pid()
	}
	if err != nil {
		fmt.Fprintf(answer, "error %v", err)
		return exitFailure
	}
	fmt.Fprintf(answer, "pid %d", pid)
	answer.Close()
	if pid == 0 {
		return 0
	}
	dropStdio()
	status := reapUntil(pid)
	exit := exitOf(status.ExitStatus(), int(signalOf(status)))
	if plan.ExitFile != "" {
		if data, err := json.Marshal(exit); err == nil {
			_ = writeAtomically(plan.ExitFile, data)
		}
	}
	return exit.Code
}

// take reads the plan and locks it for as long as the monitor lives: who sweeps what a killed supervisor had begun finds
// the monitor by that, and one that comes late finds the plan locked or gone.
func (p *monitorPlan) take(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	var st unix.Stat_t
	if err == nil {
		err = unix.Fstat(int(f.Fd()), &st)
	}
	if err == nil && st.Nlink == 0 {
		err = unix.ENOENT
	}
	if err == nil {
		err = json.NewDecoder(f).Decode(p)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("taking the plan %q: %w", path, err)
	}
	return f, nil
}

// run runs the runtime to its end.
func (p *monitorPlan) run(dir string) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("becoming the parent of orphans: prctl: %w", err)
	}
	// The runtime must start from the thread that has the mounts.
	runtime.LockOSThread()
	if err := p.enter(); err != nil {
		return err
	}
	cmd := exec.Command(p.Runtime, p.Args...)
	cmd.Dir, cmd.Stdin = dir, os.Stdin
	// A runtime that hangs ends with the monitor, which the supervisor ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	name := filepath.Base(p.Runtime)
	if p.PidFile != "" {
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr // the container's
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w: %s", name, err, lastError(p.ErrorFile))
		}
		return nil
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (p *monitorPlan) pid() (int, error) {
	text, err := os.ReadFile(p.PidFile)
	if err != nil {
		return 0, fmt.Errorf("%s wrote no pid: %w", filepath.Base(p.Runtime), err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("%s wrote the pid %q", filepath.Base(p.Runtime), text)
	}
	return pid, nil
}

// lastError is what the runtime wrote into its log.
func lastError(path string) string {
	data, _ := os.ReadFile(path)
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	last := lines[len(lines)-1]
	var entry struct {
		Msg string `json:"msg"`
	}
	if json.Unmarshal([]byte(last), &entry) == nil && entry.Msg != "" {
		last = entry.Msg
	}
	return last
}

// enter goes into the mount namespace of the container's monitor, or makes one.
// It holds the root and the image volumes.
func (p *monitorPlan) enter() error {
	if p.Monitor != 0 {
		if ns, err := p.openMounts(); err == nil {
			defer ns.Close()
			// A thread that shares its directory with others cannot change it.
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return os.NewSyscallError("unshare", err)
			}
			return os.NewSyscallError("setns", unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS))
		}
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	// Mounts of the host that come later arrive; these do not leave.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("setting the propagation of /: %w", err)
	}
	if layout, err := cgroup.Detect(); err == nil && !layout.V2 {
		// Where skiff uses version 1, crun must too, and refuses when a hierarchy
		// of version 2 with a controller is mounted beside.
		_ = unix.Unmount(filepath.Join(cgroup.Root, "unified"), unix.MNT_DETACH)
	}
	users := -1
	if p.Users != "" {
		f, err := os.Open(p.Users)
		if err != nil {
			return fmt.Errorf("opening the user namespace: %w", err)
		}
		defer f.Close()
		users = int(f.Fd())
	}
	if p.Rootfs != nil {
		if err := p.mountRoot(users); err != nil {
			return err
		}
	}
	if users >= 0 && p.Root != "" {
		if err := mount.OpenUp(filepath.Dir(p.Root)); err != nil {
			return err
		}
	}
	return p.mountImages(users)
}

// openMounts opens the mount namespace of the container's monitor. When that has
// ended, another process may have its pid, a container's perhaps: the runtime
// must not be looked for, and run as root, in a tree that is an image's.
func (p *monitorPlan) openMounts() (*os.File, error) {
	process, err := pidfd.Open(p.Monitor, p.MonitorStart)
	if err != nil {
		return nil, err
	}
	defer process.Close()
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", p.Monitor))
	if err == nil && !pidfd.Alive(process) {
		ns.Close()
		return nil, pidfd.ErrGone
	}
	return ns, err
}

// mountRoot mounts the layers on the root's place; users is the container's user namespace or -1.
func (p *monitorPlan) mountRoot(users int) error {
	var attrs int
	o := p.Rootfs
	if o.Upper == "" {
		attrs = unix.MOUNT_ATTR_RDONLY
	}
	var fd int
	var err error
	if users < 0 {
		fd, err = mount.Overlay(o.Lower, o.Upper, o.Work, true, attrs)
	} else {
		fd, err = p.mappedRoot(attrs, users)
	}
	if err != nil {
		return err
	}
	return attachAt(fd, p.Root)
}

// mappedRoot is the layers with the owners that they have on disk, as the user namespace shows them.
func (p *monitorPlan) mappedRoot(attrs, users int) (int, error) {
	for _, dir := range []string{p.Rootfs.Upper, p.Rootfs.Work} {
		if dir == "" {
			continue
		}
		if err := os.Lchown(dir, p.Owner.UID, p.Owner.GID); err != nil {
			return -1, err
		}
	}
	return mount.MappedOverlay(p.Rootfs.Lower, p.Rootfs.Upper, p.Rootfs.Work, true, attrs, users)
}

func (p *monitorPlan) mountImages(users int) error {
	for _, i := range p.Images {
		fd, err := mount.Image(i.Lower, i.SubPath, users)
		if err != nil {
			return err
		}
		if err := attachAt(fd, i.Place); err != nil {
			return err
		}
	}
	return nil
}

// attachAt makes the place, of the mount's kind, and mounts fd on it.
func attachAt(fd int, place string) error {
	defer unix.Close(fd)
	var err error
	if mount.IsDir(fd) {
		err = os.MkdirAll(place, 0o755)
	} else {
		err = os.WriteFile(place, nil, 0o600)
	}
	if err != nil {
		return fmt.Errorf("making a mount point: %w", err)
	}
	at, err := unix.Open(place, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: place, Err: err}
	}
	defer unix.Close(at)
	return mount.Attach(fd, at)
}

// dropStdio lets go of the container's standard files.
func dropStdio() {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(null)
	for fd := range 3 {
		_ = unix.Dup3(null, fd, 0)
	}
}

// reapUntil reaps every child until pid is among them.
func reapUntil(pid int) unix.WaitStatus {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case got == pid && (status.Exited() || status.Signaled()):
			return status
		case errors.Is(err, unix.ECHILD):
			// Not a child after all: its end cannot be seen here.
			return unix.WaitStatus(UnknownExitCode << 8)
		}
	}
}

// foreignExit is what the monitor of a foreign container wrote.
func (s *server) foreignExit(rec *record) (Exit, bool) {
	exit := Exit{}
	if rec.Runtime == "" {
		return exit, false
	}
	data, err := os.ReadFile(s.exitFile(rec.ID))
	return exit, err == nil && json.Unmarshal(data, &exit) == nil && !exit.At.IsZero()
}
