package lifecycle

import (
	"syscall"
	"testing"

	"go.skiff.dev/skiff/test/e2e/cluster"
	"go.skiff.dev/skiff/test/testimage"
)

// TestUmask starts skiff from a shell that keeps its files to itself, as hardened machines have it: users in pods can read
// what is made for them all the same.
func TestUmask(t *testing.T) {
	c := cluster.New(t)
	before := syscall.Umask(0o077)
	defer syscall.Umask(before)
	c.Up()
	busybox, err := testimage.Busybox("images/busybox:1")
	if err != nil {
		t.Skip(err)
	}
	c.Import(busybox)
	c.Apply(`
apiVersion: v1
kind: Pod
metadata: {name: user}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {runAsUser: 1000, runAsGroup: 1000}
  volumes: [{name: own, emptyDir: {}}]
  containers:
  - name: app
    image: images/busybox:1
    command: [sleep, "1000000"]
    volumeMounts: [{name: own, mountPath: /own}]
`)
	c.WaitFor("condition=Ready", "pod/user")
	if out := c.Kubectl("exec", "user", "--", "sh", "-c", "cat /etc/hostname && cat /etc/hosts /etc/resolv.conf >/dev/null && echo x >/own/x && ls /dev/shm /own"); out != "user\n/dev/shm:\n\n/own:\nx\n" {
		t.Errorf("the user sees %q", out)
	}
}
