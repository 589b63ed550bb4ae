// Package pods tests what the API promises of a pod's life, its containers and
// what they see, from outside: through the API and from inside of containers.
package pods

import (
	"testing"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

// TestPods starts one cluster for all; each subtest has a namespace of its own.
func TestPods(t *testing.T) {
	c := cluster.Start(t)
	c.ImportDebian("e2e/busybox:1", "busybox")
	for name, test := range map[string]func(*testing.T, *cluster.Cluster){
		"restart": restart, "init": initContainers, "hooks": hooks, "probes": probes,
		"messages": messages, "environment": environment, "commands": commands, "security": security,
		"namespaces": namespaces, "names": names, "resources": resources, "scheduling": scheduling,
		"static": static, "status": status, "ephemeral": ephemeral,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, c)
		})
	}
}
