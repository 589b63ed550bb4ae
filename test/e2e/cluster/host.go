package cluster

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
)

// Host is what can be seen of this machine that a skiff could leave behind, by
// kind; each list is sorted.
type Host map[string][]string

// Snapshot reads the host.
func Snapshot(t testing.TB) Host {
	t.Helper()
	h := Host{
		"processes":  skiffProcesses(t),
		"mounts":     lines(t, "/proc/self/mounts"),
		"links":      entries(t, "/sys/class/net"),
		"cgroups":    cgroups(t),
		"tables":     tables(t),
		"routes":     lines(t, "/proc/net/route"),
		"ip_forward": lines(t, "/proc/sys/net/ipv4/ip_forward"),
	}
	for _, dir := range []string{"/etc", "/run", "/var/lib", "/var/log", "/tmp", "/dev/shm"} {
		h[dir] = slices.DeleteFunc(entries(t, dir), func(name string) bool {
			// Other programs come and go in these; what skiff makes carries its name.
			return !strings.Contains(name, "skiff") && name != "pods" && name != "containers" && name != "netns"
		})
	}
	return h
}

// Compare reports what was added or is gone since before.
func (h Host) Compare(t testing.TB, before Host) {
	t.Helper()
	for kind, now := range h {
		for _, line := range now {
			if !slices.Contains(before[kind], line) {
				t.Errorf("left on the host, %s: %s", kind, line)
			}
		}
		for _, line := range before[kind] {
			if !slices.Contains(now, line) {
				t.Errorf("gone from the host, %s: %s", kind, line)
			}
		}
	}
}

// Only keeps the lines that contain text, for runs beside other tests.
func (h Host) Only(text string) Host {
	kept := Host{}
	for kind, list := range h {
		kept[kind] = slices.DeleteFunc(slices.Clone(list), func(line string) bool { return !strings.Contains(line, text) })
	}
	return kept
}

func lines(t testing.TB, file string) []string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(slices.Values(strings.Split(strings.TrimSpace(string(data)), "\n")))
}

func entries(t testing.TB, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names
}

// skiffProcesses lists the command lines that name a skiff.
func skiffProcesses(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			continue // it ended meanwhile
		}
		text := strings.TrimSpace(strings.ReplaceAll(string(data), "\x00", " "))
		if first, _, _ := strings.Cut(text, " "); strings.Contains(filepath.Base(first), "skiff") {
			found = append(found, filepath.Base(filepath.Dir(f))+" "+text)
		}
	}
	slices.Sort(found)
	return found
}

// cgroups lists the directories of all hierarchies, two levels deep, but for
// those of systemd's services, which come and go.
func cgroups(t testing.TB) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"/sys/fs/cgroup/*/cgroup.procs", "/sys/fs/cgroup/*/*/cgroup.procs"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !strings.Contains(f, ".slice/") {
				found = append(found, filepath.Dir(f))
			}
		}
	}
	slices.Sort(found)
	return found
}

func tables(t testing.TB) []string {
	t.Helper()
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	list, err := conn.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, table := range list {
		names = append(names, table.Name)
	}
	slices.Sort(names)
	return names
}
