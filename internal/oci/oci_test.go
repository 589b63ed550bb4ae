package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/kernel/namespace"
	"go.skiff.dev/skiff/internal/oci/defaults"
)

// TestMain also is init: Create runs this very program in the container.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "init":
			runtime.LockOSThread()
			InitMain(os.Args[2:])
		case "create-and-die":
			createAndDie(os.Args[2:])
		}
	}
	os.Exit(m.Run())
}

// box is one container under test, with a busybox for a root file system.
type box struct {
	t     testing.TB
	spec  *specs.Spec
	opts  CreateOptions
	root  string
	c     *Container
	out   *os.File
	warns []string
}

var boxes int

func newBox(t testing.TB, script string) *box {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("busybox is not installed")
	}
	boxes++
	b := &box{t: t, root: filepath.Join(t.TempDir(), "root")}
	must(t, os.MkdirAll(filepath.Join(b.root, "bin"), 0o755))
	data, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.root, "bin/busybox"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	for n := range strings.FieldsSeq("sh cat id ls echo sleep true mount mkdir ln grep head stty hostname unshare dd test readlink stat touch") {
		must(t, os.Symlink("busybox", filepath.Join(b.root, "bin", n)))
	}
	b.spec = defaults.Spec()
	b.spec.Root = &specs.Root{Path: b.root}
	b.spec.Process.Terminal = false
	b.spec.Process.Args = []string{"sh", "-c", script}
	id := fmt.Sprintf("skiff-test-%d-%d", os.Getpid(), boxes)
	b.spec.Linux.CgroupsPath = "/" + id
	if b.out, err = os.CreateTemp(t.TempDir(), "out"); err != nil {
		t.Fatal(err)
	}
	b.opts = CreateOptions{ID: id, StateDir: filepath.Join(t.TempDir(), "state"), Spec: b.spec,
		Stdio: [3]*os.File{nil, b.out, b.out}, Warn: func(w string) { b.warns = append(b.warns, w) }}
	t.Cleanup(func() {
		if b.c != nil {
			_ = b.c.Delete(true)
			_, _ = b.c.Init.Wait() // the test may have done so
		}
		b.out.Close()
	})
	return b
}

// giveTo makes the root file system belong to a mapped root, who must also be able to reach it.
func (b *box) giveTo(id int) {
	must(b.t, filepath.WalkDir(b.root, func(p string, _ os.DirEntry, _ error) error { return os.Lchown(p, id, id) }))
	for d := b.root; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		must(b.t, os.Chmod(d, 0o755))
	}
}

func (b *box) create() error {
	var err error
	b.c, err = Create(context.Background(), b.opts)
	return err
}

// run goes through the whole life and returns output and exit code.
func (b *box) run() (string, int) {
	b.t.Helper()
	if err := b.create(); err != nil {
		b.t.Fatal(err)
	}
	if err := b.c.Start(context.Background()); err != nil {
		b.t.Fatal(err)
	}
	st, err := b.c.Init.Wait()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.c.Delete(false); err != nil {
		b.t.Fatal(err)
	}
	b.clean()
	return b.output(), st.Code
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (b *box) output() string {
	if _, err := b.out.Seek(0, 0); err != nil {
		b.t.Fatal(err)
	}
	all, _ := io.ReadAll(b.out)
	return strings.TrimSpace(string(all))
}

// clean makes sure that nothing of the container is left.
func (b *box) clean() {
	b.t.Helper()
	b.c = nil
	if _, err := os.Lstat(filepath.Join(b.opts.StateDir, b.opts.ID)); !errors.Is(err, os.ErrNotExist) {
		b.t.Errorf("state directory is left: %v", err)
	}
	m, err := cgroup.New(b.spec.Linux.CgroupsPath)
	if err != nil {
		b.t.Fatal(err)
	}
	if m.Exists() {
		b.t.Error("cgroup is left")
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), b.opts.ID) || strings.Contains(string(mounts), b.root) {
		b.t.Error("a mount is left on the host")
	}
}

func TestLife(t *testing.T) {
	b := newBox(t, "echo hello; exit 7")
	if err := b.create(); err != nil {
		t.Fatal(err)
	}
	if s, err := b.c.State(); err != nil || s.Status != specs.StateCreated || s.Pid != b.c.Init.PID {
		t.Fatalf("state after create: %+v, %v", s, err)
	}
	if _, err := Create(context.Background(), b.opts); !errors.Is(err, ErrExists) {
		t.Errorf("second create: %v", err)
	}
	if err := b.c.Delete(false); !errors.Is(err, ErrNotStopped) {
		t.Errorf("delete of a created container: %v", err)
	}
	loaded, err := Load(b.opts.StateDir, b.opts.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := loaded.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	if st, err := b.c.Init.Wait(); err != nil || st.Code != 7 {
		t.Errorf("exit: %+v, %v", st, err)
	}
	if s, _ := b.c.State(); s.Status != specs.StateStopped || s.Pid != 0 {
		t.Errorf("state at the end: %+v", s)
	}
	if err := b.c.Start(context.Background()); !errors.Is(err, ErrNotCreated) {
		t.Errorf("start of a stopped container: %v", err)
	}
	if err := b.c.Delete(false); err != nil {
		t.Error(err)
	}
	if out := b.output(); out != "hello" {
		t.Errorf("output %q", out)
	}
	b.clean()
	if _, err := Load(b.opts.StateDir, b.opts.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("load after delete: %v", err)
	}
}

// TestOutput runs one script per property and compares what it prints.
func TestOutput(t *testing.T) {
	for _, tc := range []struct {
		name, script, want string
		edit               func(*box)
	}{
		{"pid 1", "echo $$", "1", nil},
		{"hostname", "hostname", "skiff", nil},
		{"user", "id -u; id -g; id -G", "1000\n100\n100 5 6", func(b *box) {
			b.spec.Process.User = specs.User{UID: 1000, GID: 100, AdditionalGids: []uint32{5, 6}}
		}},
		{"no inheritable capabilities", "grep -E 'CapInh|CapAmb' /proc/self/status", "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000", nil},
		{"capabilities", "grep -E 'CapEff|CapBnd' /proc/self/status", "CapEff:\t0000000000000020\nCapBnd:\t0000000000000020", func(b *box) {
			b.spec.Process.Capabilities = defaults.CapabilitySets([]string{"CAP_KILL"})
		}},
		{"no new privileges", "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1", nil},
		{"descriptors", "ls /proc/self/fd", "0\n1\n2\n3", nil},
		{"masked file", "cat /proc/timer_list | head -c 1", "", nil},
		{"masked directory", "ls /proc/acpi /sys/firmware; mkdir /sys/firmware/x 2>/dev/null || echo refused", "/proc/acpi:\n\n/sys/firmware:\nrefused", nil},
		{"read-only path", "echo x 2>/dev/null >/proc/sys/kernel/domainname || echo refused", "refused", nil},
		{"read-only cgroup", "echo 0 2>/dev/null >/sys/fs/cgroup/cgroup.procs || echo 0 2>/dev/null >/sys/fs/cgroup/pids/cgroup.procs || echo refused", "refused", nil},
		{"own cgroup", "grep -c test /proc/self/cgroup || true", "0", func(b *box) {}},
		{"sysctl", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", "0", func(b *box) {
			b.spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"}
		}},
		{"read-only root", "mkdir /x 2>/dev/null || echo refused", "refused", func(b *box) { b.spec.Root.Readonly = true }},
		{"working directory", "pwd", "/bin", func(b *box) { b.spec.Process.Cwd = "/bin" }},
		{"working directory that is not there", "pwd; ls -ld /made | cut -c1-10", "/made/here\ndrwxr-xr-x", func(b *box) { b.spec.Process.Cwd = "/made/here" }},
		{"rlimit", "ulimit -n", "77", func(b *box) {
			b.spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 77, Hard: 88}}
		}},
		{"few descriptors", "ulimit -n; echo ok", "3\nok", func(b *box) {
			b.spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 3, Hard: 3}}
		}},
		{"capabilities that nobody named", "grep -c 'Cap.*0000000000000000' /proc/self/status", "5", func(b *box) { b.spec.Process.Capabilities = nil }},
		{"umask", "umask", "0027", func(b *box) { u := uint32(0o27); b.spec.Process.User.Umask = &u }},
		{"devices", "ls /dev", "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero", nil},
		{"null works", "echo x >/dev/null && echo ok", "ok", nil},
		{"loopback is up", "cat /sys/class/net/lo/operstate; cat /proc/net/if_inet6 | grep -c lo", "unknown\n1", nil},
		{"seccomp", "unshare -U true 2>/dev/null || echo refused", "refused", func(b *box) {
			b.spec.Linux.Seccomp = defaults.Seccomp(defaults.Capabilities())
		}},
		{"seccomp with privileges", "mount -t tmpfs x /bin 2>/dev/null || echo refused; grep Seccomp: /proc/self/status", "refused\nSeccomp:\t2", func(b *box) {
			b.spec.Process.NoNewPrivileges = false
			b.spec.Linux.Seccomp = defaults.Seccomp(defaults.Capabilities())
			b.spec.Process.Capabilities = defaults.CapabilitySets([]string{"CAP_SYS_ADMIN"})
		}},
		{"bind", "cat /data/f; echo x 2>/dev/null >/data/f || echo refused", "content\nrefused", func(b *box) {
			dir := b.t.TempDir()
			must(b.t, os.WriteFile(dir+"/f", []byte("content\n"), 0o644))
			b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/data", Source: dir, Options: []string{"rbind", "ro"}})
		}},
		{"id-mapped mount", "stat -c '%u %g' /data/f", "5000 5000", func(b *box) {
			dir := b.t.TempDir()
			must(b.t, os.WriteFile(dir+"/f", nil, 0o644))
			must(b.t, os.Chown(dir+"/f", 1000, 1000))
			maps := []specs.LinuxIDMapping{{ContainerID: 1000, HostID: 5000, Size: 1}}
			b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/data", Source: dir, Options: []string{"bind"},
				UIDMappings: maps, GIDMappings: maps})
		}},
		{"bind of a file", "cat /etc/deep/f", "content", func(b *box) {
			f := b.t.TempDir() + "/f"
			must(b.t, os.WriteFile(f, []byte("content\n"), 0o644))
			b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/etc/deep/f", Source: f, Options: []string{"bind"}})
		}},
		{"tmpcopyup", "ls /bin/sh; grep -c ' /bin tmpfs' /proc/mounts", "/bin/sh\n1", func(b *box) {
			b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/bin", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup"}})
		}},
		{"options in one word, and an empty one", "stat -f -c %b /x; stat -c %a /x; touch /x/y 2>/dev/null || echo refused", "256\n700\nrefused", func(b *box) {
			b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/x", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1m,mode=700", "", "silent", "ro,nosuid"}})
		}},
		{"remount", "stat -f -c %b /x; touch /x/y 2>/dev/null || echo refused", "512\nrefused", func(b *box) {
			b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/x", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1m"}},
				specs.Mount{Destination: "/x", Type: "tmpfs", Options: []string{"remount", "ro", "size=2m"}})
		}},
		{"variable given twice", "echo $A $B", "2 1", func(b *box) {
			b.spec.Process.Env = append(b.spec.Process.Env, "A=1", "B=1", "A=2")
		}},
		{"empty home", "echo $HOME", "/", func(b *box) { b.spec.Process.Env = append(b.spec.Process.Env, "HOME=/x", "HOME=") }},
		{"tmpfs like what it covers", "stat -c %a /cover; stat -c %a /own; stat -c %a /new", "750\n700\n1777", func(b *box) {
			must(b.t, os.Mkdir(b.root+"/cover", 0o700))
			must(b.t, os.Chmod(b.root+"/cover", 0o750))
			for dest, option := range map[string]string{"/cover": "nosuid", "/own": "mode=700", "/new": "nosuid"} {
				b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: dest, Type: "tmpfs", Source: "tmpfs", Options: []string{option}})
			}
		}},
		{"read-only /dev", "mkdir /dev/x 2>/dev/null || echo refused; echo x >/dev/null && echo ok; ls /dev/pts", "refused\nok\nptmx", func(b *box) {
			for i := range b.spec.Mounts {
				if m := &b.spec.Mounts[i]; m.Destination == "/dev" {
					m.Options = append(m.Options, "ro")
				}
			}
		}},
		{"program by a relative PATH", "pwd", "/app", func(b *box) {
			must(b.t, os.Mkdir(b.root+"/app", 0o755))
			must(b.t, os.Symlink("/bin/busybox", b.root+"/app/ash"))
			b.spec.Process.Cwd, b.spec.Process.Args[0] = "/app", "ash"
			b.spec.Process.Env = append(b.spec.Process.Env, "PATH=.:/bin")
		}},
		{"working directory of root only", "pwd; ls . 2>/dev/null || echo refused", "/private\nrefused", func(b *box) {
			must(b.t, os.Mkdir(b.root+"/private", 0o700))
			b.spec.Process.User, b.spec.Process.Cwd = specs.User{UID: 1000, GID: 1000}, "/private"
		}},
		{"bind over a link to nowhere", "cat /run/resolve/stub", "content", func(b *box) {
			f := b.t.TempDir() + "/f"
			must(b.t, os.WriteFile(f, []byte("content\n"), 0o644))
			must(b.t, os.Mkdir(b.root+"/etc", 0o755))
			must(b.t, os.Symlink("../run/resolve/stub", b.root+"/etc/resolv.conf"))
			b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/etc/resolv.conf", Source: f, Options: []string{"bind"}})
		}},
		{"user namespace", "id -u; cat /proc/self/uid_map; test -c /dev/null && echo dev", "0\n         0     100000      65536\ndev", func(b *box) {
			maps := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
			b.spec.Linux.UIDMappings, b.spec.Linux.GIDMappings = maps, maps
			b.spec.Linux.Namespaces = append(b.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
			b.giveTo(100000)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBox(t, tc.script)
			if tc.edit != nil {
				tc.edit(b)
			}
			if out, _ := b.run(); out != tc.want {
				t.Errorf("printed %q, want %q (warnings %q)", out, tc.want, b.warns)
			}
		})
	}
}

func TestOverlayRoot(t *testing.T) {
	b := newBox(t, "cat /low; echo new > /low; cat /low")
	lower, upper, work := t.TempDir(), t.TempDir(), t.TempDir()
	must(t, os.WriteFile(lower+"/low", []byte("old\n"), 0o644))
	b.opts.Rootfs = &Overlay{Lower: []string{lower, b.root}, Upper: upper, Work: work}
	b.spec.Root = nil
	if out, _ := b.run(); out != "old\nnew" {
		t.Errorf("printed %q", out)
	}
	if got, _ := os.ReadFile(upper + "/low"); string(got) != "new\n" {
		t.Errorf("upper holds %q", got)
	}
}

// TestMappedOverlay gives a container in a user namespace layers that belong to the host's root: they look like its own,
// and what it writes belongs to its mapped ids.
func TestMappedOverlay(t *testing.T) {
	b := newBox(t, "stat -c '%u %g' /low /bin /user; echo new > /low; echo x > /made; id -u; cat /low")
	lower, upper, work := t.TempDir(), t.TempDir(), t.TempDir()
	must(t, os.WriteFile(lower+"/low", []byte("old\n"), 0o644))
	must(t, os.WriteFile(lower+"/user", nil, 0o644))
	must(t, os.Chown(lower+"/user", 1000, 2000))
	layers := []string{lower, b.root}
	for range 10 { // more than fit into one option before Linux 6.8
		layers = append(layers, t.TempDir())
	}
	b.opts.Rootfs = &Overlay{Lower: layers, Upper: upper, Work: work}
	b.spec.Root = nil
	maps := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	b.spec.Linux.UIDMappings, b.spec.Linux.GIDMappings = maps, maps
	b.spec.Linux.Namespaces = append(b.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	if out, _ := b.run(); out != "0 0\n0 0\n1000 2000\n0\nnew" {
		t.Errorf("printed %q", out)
	}
	var st unix.Stat_t
	for path, want := range map[string]uint32{upper + "/low": 100000, upper + "/made": 100000, lower + "/low": 0} {
		must(t, unix.Lstat(path, &st))
		if st.Uid != want {
			t.Errorf("%s belongs to %d, want %d", path, st.Uid, want)
		}
	}
}

// TestUserNamespace execs into a container with a user namespace, and makes a second one that joins it.
func TestUserNamespace(t *testing.T) {
	b := newBox(t, "sleep 1000")
	maps := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	b.spec.Linux.UIDMappings, b.spec.Linux.GIDMappings = maps, maps
	b.spec.Linux.Namespaces = append(b.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	b.giveTo(100000)
	c := b.start()
	want, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", c.Init.PID))
	if st, err := b.exec(ExecOptions{}, "sh", "-c", "id -u; readlink /proc/self/ns/user"); err != nil || st.Code != 0 {
		t.Fatalf("exec: %+v, %v", st, err)
	}
	if out := b.output(); out != "0\n"+want {
		t.Errorf("exec printed %q, want 0 and %s", out, want)
	}
	second := newBox(t, "id -u; readlink /proc/self/ns/user; hostname")
	second.giveTo(100000)
	for i, ns := range second.spec.Linux.Namespaces {
		for _, k := range namespace.Kinds() {
			if k.Type == string(ns.Type) && ns.Type != specs.MountNamespace && ns.Type != specs.CgroupNamespace {
				second.spec.Linux.Namespaces[i].Path = fmt.Sprintf("/proc/%d/ns/%s", c.Init.PID, k.File)
			}
		}
	}
	second.spec.Linux.Namespaces = append(second.spec.Linux.Namespaces,
		specs.LinuxNamespace{Type: specs.UserNamespace, Path: fmt.Sprintf("/proc/%d/ns/user", c.Init.PID)})
	second.spec.Hostname = ""
	if out, _ := second.run(); out != "0\n"+want+"\nskiff" {
		t.Errorf("second printed %q", out)
	}
}

func TestTimeNamespace(t *testing.T) {
	b := newBox(t, "sleep 1000")
	b.spec.Linux.Namespaces = append(b.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
	b.spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"monotonic": {Secs: 1000}, "boottime": {Secs: 2000}}
	c := b.start()
	want, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/time", c.Init.PID))
	if own, _ := os.Readlink("/proc/self/ns/time"); own == want {
		t.Error("the container is in the host's time namespace")
	}
	if st, err := b.exec(ExecOptions{}, "sh", "-c", "cat /proc/self/timens_offsets; readlink /proc/self/ns/time"); err != nil || st.Code != 0 {
		t.Fatalf("exec: %+v, %v", st, err)
	}
	out := strings.Join(strings.Fields(b.output()), " ")
	if out != "monotonic 1000 0 boottime 2000 0 "+want {
		t.Errorf("printed %q", out)
	}
}

// TestRollback fails after each of the parent's steps in turn.
func TestRollback(t *testing.T) {
	for i, s := range createParentSteps() {
		for _, run := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/run=%v", s.name, run), func(t *testing.T) { rollback(t, i, run) })
		}
	}
}

func rollback(t *testing.T, i int, run bool) {
	boom := errors.New("boom")
	b := newBox(t, "true")
	b.opts.Run = run
	steps := createParentSteps()
	do := steps[i].do
	steps[i].do = func(cr *creation, ctx context.Context) error { return errors.Join(do(cr, ctx), boom) }
	if _, err := create(context.Background(), b.opts, steps); !errors.Is(err, boom) {
		t.Fatalf("create: %v", err)
	}
	b.clean()
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("a child is left: %v", err)
	}
}

// TestForeignCgroup: a container that is refused because others are in its cgroup leaves that cgroup, and makes no other.
func TestForeignCgroup(t *testing.T) {
	for _, run := range []bool{false, true} {
		t.Run(fmt.Sprintf("run=%v", run), func(t *testing.T) {
			b := newBox(t, "true")
			b.opts.Run = run
			m, err := cgroup.New(b.spec.Linux.CgroupsPath)
			if err != nil {
				t.Fatal(err)
			}
			theirs := m
			if v2, v1 := m.Split(); len(v1.Dirs()) > 0 {
				theirs = v1
				defer func() {
					if v2.Exists() {
						t.Errorf("%s is left", v2.Dirs())
					}
				}()
			}
			must(t, theirs.Create())
			defer func() {
				if err := theirs.Destroy(); err != nil {
					t.Error(err)
				}
			}()
			sleep := exec.Command("sleep", "1000")
			must(t, sleep.Start())
			defer func() {
				_ = sleep.Process.Kill()
				_ = sleep.Wait()
			}()
			must(t, theirs.Add(sleep.Process.Pid, nil))
			if err := b.create(); err == nil || !strings.Contains(err.Error(), "container's cgroup is not empty") {
				t.Errorf("create: %v", err)
			}
			for _, d := range theirs.Dirs() {
				if _, err := os.Stat(d); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestManyFiles needs more descriptors than one message takes, while the caller has one that it lets every program have: each
// has the number that init expects.
func TestManyFiles(t *testing.T) {
	leak, err := unix.Open("/dev/zero", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leak)
	b := newBox(t, "cat /many/*; ls /proc/self/fd")
	b.opts.Run = true
	dir := t.TempDir()
	var want strings.Builder
	for i := range maxFiles + 10 {
		name := fmt.Sprintf("%03d", i)
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(name+"\n"), 0o644))
		b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/many/" + name, Source: filepath.Join(dir, name), Type: "bind"})
		want.WriteString(name + "\n")
	}
	if out, code := b.run(); out != want.String()+"0\n1\n2\n3" || code != 0 { // 3 is the directory that ls reads
		t.Errorf("printed %q, exit code %d", out, code)
	}
}

// TestNonblockingStdin: Go's runtime polls standard files that do not block, and ends a program whose epoll instance is taken
// away. Such files are what many engines give a container.
func TestNonblockingStdin(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	in := os.NewFile(uintptr(fds[0]), "in")
	defer in.Close()
	b := newBox(t, "ls /proc/self/fd")
	b.opts.Stdio[0] = in
	must(t, b.create())
	of := fmt.Sprintf("/proc/%d/fd/", b.c.Init.PID)
	es, err := os.ReadDir(of)
	if err != nil {
		t.Fatal(err)
	}
	polls := false
	for _, e := range es {
		link, _ := os.Readlink(of + e.Name())
		polls = polls || link == "anon_inode:[eventpoll]"
	}
	if !polls {
		t.Error("init's runtime has lost its epoll instance")
	}
	must(t, b.c.Start(context.Background()))
	if st, err := b.c.Init.Wait(); err != nil || st.Code != 0 {
		t.Errorf("exit: %+v, %v", st, err)
	}
	if out := b.output(); out != "0\n1\n2\n3" { // 3 is the directory that ls reads
		t.Errorf("printed %q", out)
	}
}

// TestFilesCutShort: who does not get all descriptors that were sent does not take the next ones for them.
func TestFilesCutShort(t *testing.T) {
	w, theirs, err := newWire()
	if err != nil {
		t.Fatal(err)
	}
	defer w.f.Close()
	defer theirs.Close()
	must(t, w.sendFiles([]*os.File{theirs, theirs, theirs}))
	_, _, control, err := childWire(theirs.Fd()).receive(make([]byte, 16), make([]byte, unix.CmsgSpace(4)))
	if err == nil {
		t.Errorf("took %d bytes of descriptors", len(control))
	}
	c, fd := coder{b: []byte{20}, read: true, born: 4, files: []int{7}}, 0
	if c.fd(&fd); c.err == nil {
		t.Errorf("descriptor 10, which has not come, is %d", fd)
	}
}

// TestNoProgram asks for programs that are not there: create says so and leaves nothing.
func TestNoProgram(t *testing.T) {
	for _, tc := range []struct{ cmd, want string }{
		{"nope", `exec: "nope": executable file not found in $PATH`},
		{"/nope", `exec: "/nope": stat /nope: no such file or directory`},
		{"./nope", "no such file or directory"},
		{"/bin/busybox/x", "not a directory"},
		{"/etc", "is a directory"},
		{"/plain", "permission denied"},
	} {
		b := newBox(t, "")
		must(t, os.Mkdir(b.root+"/etc", 0o755))
		must(t, os.WriteFile(b.root+"/plain", nil, 0o644))
		b.spec.Process.Args = []string{tc.cmd}
		if err := b.create(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("create for %q: %v, want %q", tc.cmd, err, tc.want)
		}
		b.clean()
	}
}

// TestStartErrors asks for a program that is there and is none: only execve finds out.
func TestStartErrors(t *testing.T) {
	b := newBox(t, "")
	must(t, os.WriteFile(b.root+"/rubbish", []byte("rubbish"), 0o755))
	b.spec.Process.Args = []string{"/rubbish"}
	must(t, b.create())
	if err := b.c.Start(context.Background()); err == nil || !strings.Contains(err.Error(), "exec format error") {
		t.Errorf("start: %v", err)
	}
}

func (b *box) start() *Container {
	b.t.Helper()
	if err := b.create(); err != nil {
		b.t.Fatal(err)
	}
	if err := b.c.Start(context.Background()); err != nil {
		b.t.Fatal(err)
	}
	return b.c
}

func (b *box) exec(o ExecOptions, args ...string) (ExitStatus, error) {
	p := *b.spec.Process
	p.Args = args
	if o.Spec == nil {
		o.Spec = &p
	}
	o.Stdio = [3]*os.File{nil, b.out, b.out}
	proc, err := b.c.Exec(context.Background(), o)
	if err != nil {
		return ExitStatus{}, err
	}
	defer proc.Close()
	return proc.Wait()
}

func TestExec(t *testing.T) {
	b := newBox(t, "sleep 1000")
	c := b.start()
	st, err := b.exec(ExecOptions{}, "sh", "-c", "for n in pid mnt cgroup net; do readlink /proc/self/ns/$n; done; exit 3")
	if err != nil || st.Code != 3 {
		t.Fatalf("exec: %+v, %v", st, err)
	}
	var want []string
	for _, n := range []string{"pid", "mnt", "cgroup", "net"} {
		l, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", c.Init.PID, n))
		want = append(want, l)
	}
	if out := b.output(); out != strings.Join(want, "\n") {
		t.Errorf("namespaces %q, want %q", out, want)
	}
	if _, err := b.exec(ExecOptions{}, "nope"); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("exec of a missing program: %v", err)
	}
	if err := c.Pause(); err != nil {
		t.Fatal(err)
	}
	if s, _ := c.Status(); s != StatePaused {
		t.Errorf("status %q", s)
	}
	if _, err := b.exec(ExecOptions{}, "true"); err == nil {
		t.Error("exec in a paused container")
	}
	if err := c.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := c.Kill(unix.SIGKILL, true); err != nil {
		t.Fatal(err)
	}
	if st, err := c.Init.Wait(); err != nil || st.Code != 137 || st.Signal != 9 {
		t.Errorf("exit %+v, %v", st, err)
	}
	if _, err := b.exec(ExecOptions{}, "true"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("exec in a stopped container: %v", err)
	}
}

func TestTerminal(t *testing.T) {
	b := newBox(t, "sleep 1000")
	b.start()
	p := *b.spec.Process
	p.Terminal, p.ConsoleSize = true, &specs.Box{Height: 33, Width: 77}
	p.Args = []string{"sh", "-c", "stty size; test -t 0 && test -t 2 && echo tty"}
	proc, err := b.c.Exec(context.Background(), ExecOptions{Spec: &p})
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	all, _ := io.ReadAll(proc.Console) // ends with EIO
	if got := strings.ReplaceAll(string(all), "\r", ""); got != "33 77\ntty\n" {
		t.Errorf("terminal printed %q", got)
	}
	if _, err := proc.Wait(); err != nil {
		t.Error(err)
	}

	b2 := newBox(t, "")
	b2.spec.Process.Terminal, b2.spec.Process.ConsoleSize = true, &specs.Box{Height: 11, Width: 22}
	b2.spec.Process.Args = []string{"sh", "-c", "echo c > /dev/console; stty size; readlink /proc/self/fd/0"}
	c := b2.start()
	all, _ = io.ReadAll(c.Init.Console)
	if got := strings.ReplaceAll(string(all), "\r", ""); got != "c\n11 22\n/dev/pts/0\n" {
		t.Errorf("terminal printed %q", got)
	}
	if _, err := c.Init.Wait(); err != nil {
		t.Error(err)
	}
}

func TestOOM(t *testing.T) {
	b := newBox(t, "dd if=/dev/zero of=/dev/shm/f bs=1M count=60 2>/dev/null; true")
	limit := int64(24 << 20)
	b.spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit}
	if err := b.create(); err != nil {
		t.Fatal(err)
	}
	got := make(chan uint64, 8)
	if err := b.c.WatchOOM(t.Context(), func(n uint64) { got <- n }); err != nil {
		t.Fatal(err)
	}
	if err := b.c.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-got:
	case <-time.After(time.Minute):
		t.Error("no event")
	}
	if _, err := b.c.Init.Wait(); err != nil {
		t.Error(err)
	}
	if n, err := b.c.OOMKills(); err != nil || n == 0 {
		t.Errorf("kills %d, %v", n, err)
	}
}

// TestPaused: a container is paused before its start too, and SIGKILL ends it although it is frozen.
func TestPaused(t *testing.T) {
	b := newBox(t, "sleep 1000")
	must(t, b.create())
	status := func(want specs.ContainerState) {
		t.Helper()
		if st, err := b.c.Status(); err != nil || st != want {
			t.Errorf("status %q, %v; want %q", st, err, want)
		}
	}
	must(t, b.c.Pause())
	status(StatePaused)
	if err := b.c.Start(context.Background()); !errors.Is(err, ErrNotCreated) {
		t.Errorf("start of a paused container: %v", err)
	}
	must(t, b.c.Resume())
	status(specs.StateCreated)
	must(t, b.c.Start(context.Background()))
	must(t, b.c.Pause())
	must(t, b.c.Kill(unix.SIGKILL, false))
	if st, err := b.c.Init.Wait(); err != nil || st.Signal != int(unix.SIGKILL) {
		t.Errorf("the end: %+v, %v", st, err)
	}
	status(specs.StateStopped)
}
