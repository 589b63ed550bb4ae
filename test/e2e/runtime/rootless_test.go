package runtime

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

// ordinary has the program be called by a user who has no rights at all, through what leads to it: a user can neither
// look into a test's directory nor perhaps into the repository.
func (b *bundle) ordinary(through ...string) {
	b.t.Helper()
	own := b.dir + "/skiff-oci"
	text, err := os.ReadFile(filepath.Join(cluster.Root(), "bin/skiff-oci"))
	if err == nil {
		err = os.WriteFile(own, text, 0o755)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	for dir := b.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			b.t.Fatal(err)
		}
	}
	const nobody = "65534"
	if out, err := exec.Command("chown", "-R", nobody+":"+nobody, b.dir).CombinedOutput(); err != nil {
		b.t.Fatalf("%v\n%s", err, out)
	}
	user := "exec setpriv --reuid=" + nobody + " --regid=" + nobody + " --clear-groups " + strings.Join(through, " ")
	b.launcher = []string{"sh", "-c", "shift; " + user + " " + own + ` "$@"`, "sh"}
}

// describe takes the configuration that `spec` writes for this user.
func (b *bundle) describe(flags ...string) {
	b.t.Helper()
	if err := os.Remove(b.dir + "/config.json"); err != nil {
		b.t.Fatal(err)
	}
	b.want(0, append([]string{"spec", "--bundle", b.dir}, flags...)...)
	text, err := os.ReadFile(b.dir + "/config.json")
	if err != nil {
		b.t.Fatal(err)
	}
	b.spec = new(specs.Spec)
	if err := json.Unmarshal(text, b.spec); err != nil {
		b.t.Fatal(err)
	}
	b.spec.Process.Terminal = false
}

// A user who may make user namespaces makes containers, without cgroups and with the one id that is theirs.
func TestRootless(t *testing.T) {
	b := open(t)
	b.ordinary()
	b.describe("--rootless")
	if err := os.WriteFile(b.dir+"/source", []byte("bound\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/bound", Type: "bind", Source: b.dir + "/source", Options: []string{"ro"}})
	b.same("the process", b.run("id -u; id -g; tr -s ' ' </proc/self/uid_map; cat /bound; echo x 2>/dev/null >/bound || echo ro; echo >/dev/null"),
		"0\n0\n 0 65534 1\nbound\nro")

	id := b.id
	b.run("sleep 1000", "-d")
	b.same("an exec", b.want(0, "exec", id, "sh", "-c", "id -u; hostname"), "0\nskiff")
	b.same("the state", field(t, b.want(0, "state", id), "status"), "running")
	b.want(0, "kill", id, "KILL")
	b.want(0, "delete", "--force", id)

	b.spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20))}}
	b.refused("memory")
	b.spec.Linux.Resources, b.spec.Linux.CgroupsPath = nil, "/asked-for"
	b.refused("permission denied")
	b.spec.Linux.CgroupsPath = ""
	b.spec.Process.User.AdditionalGids = []uint32{1}
	b.refused("setgroups")
	b.spec.Process.User.AdditionalGids = nil
	b.spec.Linux.UIDMappings = append(b.spec.Linux.UIDMappings, specs.LinuxIDMapping{ContainerID: 1, HostID: 100000, Size: 10})
	b.refused("linux.uidMappings, linux.gidMappings: an ordinary user can map his own id only")
}

// Without a cgroup only the first of the processes in the host's pid namespace is known, and that one is killed.
func TestRootlessKill(t *testing.T) {
	b := open(t)
	b.ordinary()
	b.describe("--rootless")
	l := b.spec.Linux
	l.Namespaces = slices.DeleteFunc(l.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == specs.PIDNamespace })
	l.MaskedPaths, l.ReadonlyPaths = nil, nil
	for i, m := range b.spec.Mounts {
		if m.Type == "proc" { // a new one is only for who owns the pid namespace
			b.spec.Mounts[i] = specs.Mount{Destination: "/proc", Type: "bind", Source: "/proc", Options: []string{"rbind"}}
		}
	}
	for _, flags := range [][]string{nil, {"--all"}} {
		b.run("exec sleep 1000", "-d")
		b.want(0, append(append([]string{"kill"}, flags...), b.id, "KILL")...)
		cluster.Until(t, func() error {
			if s := field(t, b.want(0, "state", b.id), "status"); s != "stopped" {
				return fmt.Errorf("after kill %v the container is %s", flags, s)
			}
			return nil
		})
		if out := b.want(1, "update", "--pids-limit", "5", b.id); !strings.Contains(out, "container not running") {
			t.Errorf("an update of a stopped container: %s", out)
		}
		b.want(0, "delete", b.id)
	}
}

// Engines without root make the user namespace themselves and call the runtime as its root.
func TestRootOfUserNamespace(t *testing.T) {
	b := open(t)
	b.ordinary("unshare", "-Urm")
	b.describe()
	for i, m := range b.spec.Mounts {
		if m.Type == "devpts" { // group 5 is not there
			b.spec.Mounts[i].Options = []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}
		}
	}
	b.same("the process", b.run("id -u; tr -s ' ' </proc/self/uid_map; echo >/dev/null && echo null; mount | grep -c ' /dev/null '"), "0\n 0 65534 1\nnull\n1")
}

func field(t *testing.T, text, name string) string {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	s, _ := m[name].(string)
	return s
}
