package container

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/supervisor"
)

// TestHostileAccounts: CVE-2023-25153, CVE-2024-5154. An image's users are read from regular files of the image, of a
// bounded size, and from nowhere else.
func TestHostileAccounts(t *testing.T) {
	host := t.TempDir()
	if err := os.WriteFile(filepath.Join(host, "passwd"), []byte("evil:x:0:0::/:/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", 24) + host[1:]
	for name, c := range map[string]struct {
		plant func(etc string) error
		says  string
	}{
		"link to the host":      {func(etc string) error { return os.Symlink(host+"/passwd", etc+"/passwd") }, ""},
		"relative link":         {func(etc string) error { return os.Symlink(up+"/passwd", etc+"/passwd") }, ""},
		"link through proc":     {func(etc string) error { return os.Symlink("/proc/self/root"+host+"/passwd", etc+"/passwd") }, ""},
		"etc is a link":         {func(etc string) error { return syscall.Rename(etc, etc+"2") }, ""},
		"pipe":                  {func(etc string) error { return syscall.Mkfifo(etc+"/passwd", 0o600) }, "/etc/passwd in the image: not a regular file"},
		"directory":             {func(etc string) error { return os.Mkdir(etc+"/group", 0o700) }, "/etc/group in the image: not a regular file"},
		"device":                {func(etc string) error { return syscall.Mknod(etc+"/group", syscall.S_IFCHR|0o600, 1<<8|5) }, "/etc/group in the image"},
		"a gigabyte of groups":  {func(etc string) error { return sparseFile(etc+"/group", 1<<30) }, "1073741824 bytes, more than the limit of 1048576"},
		"a megabyte of nothing": {func(etc string) error { return sparseFile(etc+"/passwd", 1<<20) }, ""},
		"one endless line":      {func(etc string) error { return os.WriteFile(etc+"/group", bytes.Repeat([]byte("x"), 1<<20), 0o600) }, ""},
		"numbers that wrap": {func(etc string) error {
			return os.WriteFile(etc+"/passwd", []byte("evil:x:4294967296:-1::/:\nevil:x:-0:0::/:\n"), 0o600)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			etc := filepath.Join(root, "etc")
			if err := os.Mkdir(etc, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := c.plant(etc); err != nil {
				t.Fatal(err)
			}
			if name == "etc is a link" {
				if err := os.Symlink(host, etc); err != nil {
					t.Fatal(err)
				}
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			known, err := readAccounts([]string{root})
			runtime.ReadMemStats(&after)
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%v, want %q", err, c.says)
			}
			if who, err := resolveUser(&runtimeapi.LinuxContainerSecurityContext{}, "evil", known); err == nil {
				t.Errorf("the host's user came in: %+v", who)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 16<<20 {
				t.Errorf("took %d bytes", took)
			}
		})
	}
}

func sparseFile(path string, size int64) error {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	return os.Truncate(path, size)
}

// TestLabelsOfAnImageAreNoInstructions: CVE-2026-53488. What an image says about itself sets nothing but its own
// process: neither the container's labels and annotations, nor the supervisor's.
func TestLabelsOfAnImageAreNoInstructions(t *testing.T) {
	n := newNode(t)
	labels := map[string]string{labelKind: kindSandbox, labelSandbox: "other", "skiff.dev/quiet": "1"}
	for name := range strings.FieldsSeq(`io.kubernetes.cri.container-type io.kubernetes.cri-o.TTY io.kubernetes.container.name io.kubernetes.pod.uid
		io.containerd.image.config.stop-signal containerd.io/restart.status containerd.io/gc.root containerd.io/restart.logpath
		io.containerd.runc.v2.group org.opencontainers.runc.hooks cdi.k8s.io/vendor org.systemd.property.ExecStartPre run.oci.handler`) {
		labels[name] = "evil"
	}
	n.importImage("labels:1", imageSpec{Labels: labels, StopSignal: "SIGKILL; touch /tmp/evil"})
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", func(c *runtimeapi.ContainerConfig) {
		c.Image.Image = "labels:1"
		c.Labels = map[string]string{"own": "label"}
	}, "sleep", "1000")
	st := n.status(id)
	if len(st.GetLabels()) != 1 || len(st.GetAnnotations()) > 0 {
		t.Errorf("labels %v, annotations %v", st.GetLabels(), st.GetAnnotations())
	}
	c, err := n.s.findContainer(id)
	if err != nil {
		t.Fatal(err)
	}
	if c.spec != nil && (len(c.spec.Annotations) > 0 || c.spec.Hooks != nil) || c.rec.Load().SandboxID != box {
		t.Errorf("specification %+v, sandbox %s", c.spec, c.rec.Load().SandboxID)
	}
	list, err := n.s.sup.List(n.ctx())
	if err != nil || len(list) != 2 {
		t.Fatalf("%d containers, %v", len(list), err)
	}
	for _, s := range list {
		want := map[string]string{labelKind: kindCtr, labelSandbox: box}
		if s.ID == box {
			want = map[string]string{labelKind: kindSandbox, labelSandbox: box, supervisor.LabelQuiet: "1"}
		}
		if !maps.Equal(s.Labels, want) {
			t.Errorf("the supervisor was told %v, want %v", s.Labels, want)
		}
	}
}

// FuzzAccounts: whatever an image's passwd and group hold and whoever it names, nobody gets a number that wraps, and
// only a name that is there is found.
func FuzzAccounts(f *testing.F) {
	for _, s := range [][3]string{
		{"root:x:0:0::/root:/bin/sh\nuser:x:1000:1001::/home/user:/bin/sh\n", "root:x:0:\nextra:x:2000:user\n", "user"},
		{"user:x:4294967296:0::/:\n", "g:x:-1:user\n", "user:g"},
		{"#c\n\n:::::\n a:x:1:1::: \n", "a:b\n::: ,,\n", "1000:1001"},
		{"x", "x", ""}, {"", "", "::"}, {"\x00:\x00:0:0:0:0", "", "+0"},
	} {
		f.Add([]byte(s[0]), []byte(s[1]), s[2])
	}
	f.Fuzz(func(t *testing.T, passwd, group []byte, user string) {
		var known accounts
		for _, err := range []error{eachLine(bytes.NewReader(passwd), known.addUser), eachLine(bytes.NewReader(group), known.addGroup)} {
			if err != nil {
				return
			}
		}
		who, err := resolveUser(&runtimeapi.LinuxContainerSecurityContext{}, user, known)
		if err != nil {
			return
		}
		for _, id := range append([]uint32{who.UID, who.GID}, who.Groups...) {
			if id > 1<<31-1 {
				t.Errorf("%q is %+v", user, who)
			}
		}
		if name, _, _ := strings.Cut(user, ":"); name != "" && !isNumber(name) && !bytes.Contains(passwd, []byte(name)) {
			t.Errorf("%q was found, and is %+v", user, who)
		}
	})
}

// FuzzSandboxSysctl: a setting that is let in is of a namespace that pods have, and one line.
func FuzzSandboxSysctl(f *testing.F) {
	for _, s := range [][2]string{{"net.ipv4.ip_forward", "1"}, {"net/ipv4/conf/eth0.1/forwarding", "1"}, {"kernel.shm_rmid_forced", "1+x=1"}, {"net..x", ""}, {"net/../kernel", "\n"}, {"kernel.core_pattern", "|x"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		if checkSysctl(key, value, &runtimeapi.NamespaceOption{}) != nil {
			return
		}
		path := filepath.Join("/", strings.ReplaceAll(key, ".", "/"))
		ours := false
		for _, p := range []string{"/net/", "/fs/mqueue/", "/kernel/msg", "/kernel/sem", "/kernel/shm"} {
			ours = ours || strings.HasPrefix(path, p)
		}
		if !ours || strings.ContainsAny(value, "\n\x00+") {
			t.Errorf("%q = %q was let in", key, value)
		}
	})
}
