package vm

import (
	"testing"

	"go.skiff.dev/skiff/test/e2e/cluster"
	"go.skiff.dev/skiff/test/vm/plan"
)

// nested starts skiff as a container would: in a cgroup namespace whose root
// already has processes, so that, by the kernel's "no internal processes" rule
// (Documentation/admin-guide/cgroup-v2.rst), it cannot hand down controllers.
const nested = `
cd /sys/fs/cgroup
echo "+cpu +memory +pids +io +cpuset" > cgroup.subtree_control
mkdir box
echo $$ > box/cgroup.procs
cd /
exec /usr/bin/unshare --cgroup --mount sh -c '
umount /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup
skiff up --detach || exit 1
skiff kubectl create deployment hello --image=skiff.dev/hello:1
skiff kubectl rollout status deployment/hello --timeout=600s || { skiff kubectl describe pods; exit 1; }
skiff down --purge
'
`

func TestInsideContainer(t *testing.T) {
	wanted(t)
	m := machine(t, needed)
	put(t, m, cluster.Root()+"/bin/skiff", "/bin/skiff")
	// Busybox's own unshare knows no cgroup namespaces.
	for _, file := range []string{"/usr/bin/unshare", "/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"} {
		put(t, m, file, file)
	}
	m.Steps = []plan.Step{{Name: "a deployment", Limit: stepLimit, Args: []string{"sh", "-c", nested}}}
	run(t, m, machineLimit, tell)
}
