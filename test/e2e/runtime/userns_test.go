package runtime

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

var mapped = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}

func (b *bundle) inUserNamespace() {
	b.t.Helper()
	b.spec.Linux.Namespaces = append(b.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	b.spec.Linux.UIDMappings, b.spec.Linux.GIDMappings = mapped, mapped
	for dir := b.dir; dir != os.TempDir() && dir != "/"; dir = dir[:strings.LastIndex(dir, "/")] {
		if err := os.Chmod(dir, 0o755); err != nil {
			b.t.Fatal(err)
		}
	}
	if out, err := exec.Command("chown", "-R", "100000:100000", b.root()).CombinedOutput(); err != nil {
		b.t.Fatalf("%v: %s", err, out)
	}
}

func (b *bundle) join(kind specs.LinuxNamespaceType, path string) {
	for i, n := range b.spec.Linux.Namespaces {
		if n.Type == kind {
			b.spec.Linux.Namespaces[i].Path = path
			return
		}
	}
	b.spec.Linux.Namespaces = append(b.spec.Linux.Namespaces, specs.LinuxNamespace{Type: kind, Path: path})
}

func TestUserAndTimeNamespace(t *testing.T) {
	if _, err := os.Stat("/proc/self/ns/time"); err != nil {
		t.Skip("this kernel has no time namespaces")
	}
	b := open(t)
	b.inUserNamespace()
	b.spec.Linux.Namespaces = append(b.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
	b.spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"monotonic": {Secs: 7881, Nanosecs: 2718281}}
	script := "tr -s ' ' </proc/self/uid_map; tr -s ' ' </proc/self/timens_offsets | head -n 1; touch /tmp/mine; stat -c %u /tmp/mine"
	want := "0 100000 65536\nmonotonic 7881 2718281\n0"
	b.same("new ones", b.run(script), want)
	b.run("sleep 1000", "-d")
	id := b.want(0, "list", "-q")
	b.same("an exec", b.want(0, "exec", id, "sh", "-c", script), want)
}

// The network, ipc and uts namespaces may be the caller's, which root of the container's user namespace has no rights in.
func TestUserNamespaceWithTheCallersOthers(t *testing.T) {
	b := open(t)
	b.inUserNamespace()
	holder := exec.Command("unshare", "-n", "-i", "-u", "sh", "-c", "hostname held && echo ready && exec sleep 1000")
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = holder.Process.Kill(); _ = holder.Wait() })
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	var want []string
	for kind, file := range map[specs.LinuxNamespaceType]string{specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts"} {
		b.join(kind, fmt.Sprintf("/proc/%d/ns/%s", holder.Process.Pid, file))
	}
	for _, file := range []string{"ipc", "net", "uts"} {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", holder.Process.Pid, file))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, link)
	}
	b.spec.Hostname = ""
	b.spec.Mounts = append(b.spec.Mounts[:0:0], b.spec.Mounts...)
	for i, m := range b.spec.Mounts {
		if m.Type == "mqueue" { // belongs to the ipc namespace
			b.spec.Mounts = append(b.spec.Mounts[:i], b.spec.Mounts[i+1:]...)
			break
		}
	}
	script := "cd /proc/self/ns; for n in ipc net uts; do readlink $n; done; hostname; id -u"
	said := strings.Join(append(want, "held", "0"), "\n")
	b.same("namespaces", b.run(script), said)
	b.run("sleep 1000", "-d")
	id := b.want(0, "list", "-q")
	b.same("an exec", b.want(0, "exec", id, "sh", "-c", script), said)
}

// "idmap" without mappings of its own means those of the user namespace, also of one that is joined.
func TestIDMapOfJoinedNamespace(t *testing.T) {
	first := open(t)
	first.inUserNamespace()
	first.run("sleep 1000", "-d", "--pid-file", first.dir+"/pid")
	pid, err := os.ReadFile(first.dir + "/pid")
	if err != nil {
		t.Fatal(err)
	}
	b := open(t)
	b.inUserNamespace()
	b.spec.Linux.UIDMappings, b.spec.Linux.GIDMappings = nil, nil
	b.join(specs.UserNamespace, "/proc/"+string(pid)+"/ns/user")
	if err := os.Mkdir(b.dir+"/volume", 0o755); err != nil {
		t.Fatal(err)
	}
	b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/v", Source: b.dir + "/volume", Type: "bind", Options: []string{"bind", "idmap"}})
	b.same("owner", b.run("stat -c %u /v"), "0")
}
