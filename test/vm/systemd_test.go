package vm

import (
	"testing"
	"time"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

// TestSystemd has skiff-oci ask Debian's systemd for cgroups, as podman,
// containerd and Docker want it wherever systemd runs.
func TestSystemd(t *testing.T) { withSystemd(t, false) }

// TestSystemdHybrid does so where systemd has the controllers on version 1.
func TestSystemdHybrid(t *testing.T) { withSystemd(t, true) }

func withSystemd(t *testing.T, hybrid bool) {
	t.Helper()
	wanted(t)
	m := machine(t, []string{"overlay"})
	m.Systemd, m.Hybrid = true, hybrid
	for _, err := range []error{m.Disk.Systemd(), m.Disk.Package("podman", "conmon", "golang-github-containers-common")} {
		if err != nil {
			t.Fatalf("%v; apt-get install systemd dbus podman", err)
		}
	}
	runtime := cluster.Root() + "/bin/skiff-oci"
	put(t, m, runtime, runtime)
	s := suite{path: "test/vm/scope", env: []string{"SKIFF_OCI=" + runtime}}
	m.Steps = append(m.Steps, s.step(t, m, 8*time.Minute))
	run(t, m, 12*time.Minute, tell)
}
