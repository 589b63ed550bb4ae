package kubelet

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
)

// TestLocalProfileHasAName: CVE-2023-2431. A local profile without a name is no profile at all, not an unconfined
// container.
func TestLocalProfileHasAName(t *testing.T) {
	k := &Kubelet{}
	empty := ""
	for _, name := range []*string{nil, &empty} {
		p := &v1.SeccompProfile{Type: v1.SeccompProfileTypeLocalhost, LocalhostProfile: name}
		for where, c := range map[string]struct {
			pod v1.Pod
			ctr v1.Container
		}{
			"pod":       {pod: v1.Pod{Spec: v1.PodSpec{SecurityContext: &v1.PodSecurityContext{SeccompProfile: p}}}},
			"container": {ctr: v1.Container{SecurityContext: &v1.SecurityContext{SeccompProfile: p}}},
		} {
			if got, err := k.seccompProfile(&c.pod, &c.ctr); err == nil || !strings.Contains(err.Error(), "localhostProfile") {
				t.Errorf("%s: %v, %v", where, got, err)
			}
		}
	}
}

func TestMaskedPathsOfThisMachine(t *testing.T) {
	sys := t.TempDir()
	for _, cpu := range []string{"cpu0", "cpu17", "cpufreq"} {
		if err := os.MkdirAll(filepath.Join(sys, "devices/system/cpu", cpu, "thermal_throttle"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	got := maskedPaths(sys)
	for path, want := range map[string]bool{
		"/proc/kcore": true, "/sys/devices/system/cpu/cpu0/thermal_throttle": true,
		"/sys/devices/system/cpu/cpu17/thermal_throttle": true, "/sys/devices/system/cpu/cpufreq/thermal_throttle": false,
	} {
		if slices.Contains(got, path) != want {
			t.Errorf("%s is masked: %v", path, !want)
		}
	}
}
