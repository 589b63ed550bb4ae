package kubelet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
)

// trySeccomp gives pods profiles of the node: one that is there, one that is not, and one outside of the directory.
func trySeccomp(t *testing.T, c *testCluster) {
	dir := c.kubelet.seccompDir()
	if err := os.MkdirAll(filepath.Join(dir, "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	profile := `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}`
	if err := os.WriteFile(filepath.Join(dir, "deep/nodirs.json"), []byte(profile), 0o600); err != nil {
		t.Fatal(err)
	}
	with := func(name string) func(*v1.Pod) {
		return func(p *v1.Pod) {
			never(p)
			p.Spec.SecurityContext = &v1.PodSecurityContext{SeccompProfile: &v1.SeccompProfile{Type: v1.SeccompProfileTypeLocalhost, LocalhostProfile: &name}}
		}
	}
	c.pod("seccomp-there", "mkdir /x 2>/dev/null && exit 1; touch /y && exit 0", with("deep/nodirs.json"))
	c.pod("seccomp-gone", "true", with("gone.json"))
	p := c.await("seccomp-there", "done", func(p *v1.Pod) bool { return mainStatus(p).State.Terminated != nil })
	if s := mainStatus(p).State.Terminated; s.ExitCode != 0 {
		t.Errorf("the profile was not in force: %+v", s)
	}
	p = c.await("seccomp-gone", "waiting", func(p *v1.Pod) bool {
		return mainStatus(p).State.Waiting != nil && mainStatus(p).State.Waiting.Message != ""
	})
	if w := mainStatus(p).State.Waiting; !strings.Contains(w.Message, "gone.json") {
		t.Errorf("a profile that is not there: %+v", w)
	}
	bad := "../x.json"
	if _, err := c.kubelet.seccompProfile(&v1.Pod{Spec: v1.PodSpec{SecurityContext: &v1.PodSecurityContext{
		SeccompProfile: &v1.SeccompProfile{Type: v1.SeccompProfileTypeLocalhost, LocalhostProfile: &bad}}}}, &v1.Container{}); err == nil {
		t.Error("a profile outside of the directory was taken")
	}
	c.remove("seccomp-there")
	c.remove("seccomp-gone")
}
