package container

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestParseID(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1000": 1000, "2147483647": 2147483647, "007": 7,
		"": -1, "-1": -1, "+1": -1, "1 ": -1, " 1": -1, "2147483648": -1, "4294967296": -1, "18446744073709551616": -1, "0x10": -1, "1e3": -1, "one": -1,
	} {
		got, err := parseID(text)
		if (err == nil) != (want >= 0) || (err == nil && int64(got) != want) {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

func FuzzParseID(f *testing.F) {
	for _, s := range []string{"0", "-1", "4294967296", "1000:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := parseID(s); err == nil && (n > 1<<31-1 || strings.ContainsAny(s, "+-: ")) {
			t.Errorf("%q became %d", s, n)
		}
	})
}

func TestContainerIsConfined(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", func(c *runtimeapi.ContainerConfig) {
		c.Linux.SecurityContext.MaskedPaths = []string{"/proc/interrupts", "/proc/scsi"}
		c.Linux.SecurityContext.ReadonlyPaths = []string{"/proc/sys"}
		c.Linux.SecurityContext.NoNewPrivs = true
		c.Linux.SecurityContext.Seccomp = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
	}, "sleep", "1000")
	out, _ := n.exec(id, "cat", "/proc/1/status")
	for _, want := range []string{"CapInh:\t0000000000000000", "CapBnd:\t00000000000005fb", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(out, want) {
			t.Errorf("status lacks %q:\n%s", want, out)
		}
	}
	for _, cmd := range [][]string{
		{"sh", "-c", "echo 1 > /proc/sys/kernel/panic"},
		{"sh", "-c", "echo 1 > /sys/kernel/mm/ksm/run"},
		{"mount", "-t", "tmpfs", "x", "/tmp"},
		{"sh", "-c", "for f in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs; do echo 1 > $f && exit 0; done; exit 1"},
	} {
		if out, code := n.exec(id, cmd...); code == 0 {
			t.Errorf("%q succeeded: %s", cmd, out)
		}
	}
	if out, code := n.exec(id, "sh", "-c", "[ -c /proc/interrupts ] && head -c 1 /proc/interrupts"); code != 0 || out != "" {
		t.Errorf("interrupts are not masked: %d %q", code, out)
	}
}

func TestCapabilitiesAreAddedAndDropped(t *testing.T) {
	sc := func(add, drop []string) *runtimeapi.LinuxContainerSecurityContext {
		return &runtimeapi.LinuxContainerSecurityContext{Capabilities: &runtimeapi.Capability{AddCapabilities: add, DropCapabilities: drop}}
	}
	for name, c := range map[string]struct {
		add, drop []string
		want      string
	}{
		"drop all, add one": {[]string{"NET_RAW"}, []string{"ALL"}, "CAP_NET_RAW"},
		"lower case":        {[]string{"cap_net_raw"}, []string{"all"}, "CAP_NET_RAW"},
		"drop one of all":   {nil, []string{"ALL", "KILL"}, ""},
	} {
		got, err := capabilities(sc(c.add, c.drop))
		if err != nil || strings.Join(got.Bounding, " ") != c.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := capabilities(sc([]string{"NO_SUCH"}, nil)); status.Code(err) != codes.InvalidArgument {
		t.Errorf("unknown capability: %v", err)
	}
	all, _ := capabilities(sc([]string{"ALL"}, []string{"SYS_ADMIN"}))
	if len(all.Bounding) < 30 || strings.Contains(strings.Join(all.Bounding, " "), "SYS_ADMIN") {
		t.Errorf("all but one: %v", all.Bounding)
	}
}

func TestPrivileged(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", func(c *runtimeapi.PodSandboxConfig) { c.Linux.SecurityContext.Privileged = true })
	id := n.run(box, config, "app", func(c *runtimeapi.ContainerConfig) { c.Linux.SecurityContext.Privileged = true }, "sleep", "1000")
	if out, code := n.exec(id, "mount", "-t", "tmpfs", "x", "/tmp"); code != 0 {
		t.Errorf("mount: %s", out)
	}
	if out, _ := n.exec(id, "sh", "-c", "grep Seccomp: /proc/1/status"); !strings.Contains(out, "0") {
		t.Errorf("seccomp: %s", out)
	}
}

func TestMounts(t *testing.T) {
	n := newNode(t)
	host := filepath.Join(n.dir, "host")
	if err := os.MkdirAll(filepath.Join(host, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", func(c *runtimeapi.ContainerConfig) {
		c.Linux.SecurityContext.ReadonlyRootfs = true
		c.Mounts = []*runtimeapi.Mount{
			{HostPath: host, ContainerPath: "/new/rw"},
			{HostPath: host, ContainerPath: "/ro", Readonly: true},
			{HostPath: filepath.Join(n.dir, "made"), ContainerPath: "/made"},
		}
	}, "sleep", "1000")
	if out, code := n.exec(id, "sh", "-c", "echo x > /new/rw/file && cat /ro/file && touch /made/y"); code != 0 || out != "x\n" {
		t.Errorf("%d %q", code, out)
	}
	for _, path := range []string{"/ro/y", "/y"} {
		if _, code := n.exec(id, "touch", path); code == 0 {
			t.Errorf("%s is writable", path)
		}
	}
	_, err := n.create(box, config, "bad", func(c *runtimeapi.ContainerConfig) {
		c.Mounts = []*runtimeapi.Mount{{HostPath: "relative", ContainerPath: "/x"}}
	}, "true")
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("relative source: %v", err)
	}
}

func TestImageVolumesStayInTheImage(t *testing.T) {
	n := newNode(t)
	n.importImage("volume:1", imageSpec{
		Volumes: map[string]struct{}{"/data": {}, "/../../etc": {}},
		files:   map[string]string{"data/seed": "from image\n"},
	})
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", func(c *runtimeapi.ContainerConfig) { c.Image.Image = "volume:1" }, "sleep", "1000")
	if out, _ := n.exec(id, "cat", "/data/seed"); out != "from image\n" {
		t.Errorf("volume: %q", out)
	}
	if out, _ := n.exec(id, "cat", "/etc/passwd"); !strings.Contains(out, "/home/user") || strings.Contains(out, "daemon") {
		t.Errorf("passwd: %q", out)
	}
}

func TestSysctls(t *testing.T) {
	own, node := &runtimeapi.NamespaceOption{}, &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE, Ipc: runtimeapi.NamespaceMode_NODE}
	for _, c := range []struct {
		key, value string
		options    *runtimeapi.NamespaceOption
		ok         bool
	}{
		{"net.ipv4.ip_local_port_range", "1024 65535", own, true},
		{"net/ipv4/ip_forward", "1", own, true},
		{"kernel.shmmax", "1", own, true},
		{"net.ipv4.ip_forward", "1", node, false},
		{"kernel.shmmax", "1", node, false},
		{"kernel.core_pattern", "|/bin/evil", own, false},
		{"kernel.shm_rmid_forced", "1+net.ipv4.ip_forward=1", own, false},
		{"net.ipv4.x\nkernel.panic", "1", own, false},
		{"net..x", "1", own, false},
	} {
		if err := checkSysctl(c.key, c.value, c.options); (err == nil) != c.ok {
			t.Errorf("%q=%q: %v", c.key, c.value, err)
		}
	}
	n := newNode(t)
	box, config := n.sandbox("pod", func(c *runtimeapi.PodSandboxConfig) {
		c.Linux.Sysctls = map[string]string{"net.ipv4.ip_local_port_range": "2000 3000"}
	})
	id := n.run(box, config, "app", nil, "cat", "/proc/sys/net/ipv4/ip_local_port_range")
	n.wait(id)
	if got := strings.Fields(n.log(id)); len(got) != 2 || got[0] != "2000" {
		t.Errorf("sysctl: %q", got)
	}
}

func TestSeccompProfile(t *testing.T) {
	for name, tc := range map[string]struct {
		sc   *runtimeapi.LinuxContainerSecurityContext
		want bool
	}{
		"none named": {&runtimeapi.LinuxContainerSecurityContext{}, false},
		"default":    {&runtimeapi.LinuxContainerSecurityContext{Seccomp: &runtimeapi.SecurityProfile{}}, true},
		"unconfined": {&runtimeapi.LinuxContainerSecurityContext{Seccomp: &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}}, false},
		"privileged": {&runtimeapi.LinuxContainerSecurityContext{Privileged: true, Seccomp: &runtimeapi.SecurityProfile{}}, false},
	} {
		got, err := seccompFor(tc.sc, nil)
		if err != nil || (got != nil) != tc.want {
			t.Errorf("%s: filter %v, %v; want one: %v", name, got != nil, err, tc.want)
		}
	}
}

func TestGroupNeedsUser(t *testing.T) {
	group := &runtimeapi.Int64Value{Value: 1002}
	_, err := resolveUser(&runtimeapi.LinuxContainerSecurityContext{RunAsGroup: group}, "1000", accounts{})
	if err == nil || !strings.Contains(err.Error(), "run_as_group") {
		t.Errorf("a group without a user: %v", err)
	}
	who, err := resolveUser(&runtimeapi.LinuxContainerSecurityContext{RunAsGroup: group, RunAsUser: &runtimeapi.Int64Value{Value: 1001}}, "1000", accounts{})
	if err != nil || who.UID != 1001 || who.GID != 1002 {
		t.Errorf("user and group: %+v, %v", who, err)
	}
}
