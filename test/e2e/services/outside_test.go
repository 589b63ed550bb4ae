package services

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

// outside is a machine beside the node: a network namespace behind a link.
func outside(t *testing.T, s *cluster.Space) {
	name := fmt.Sprintf("e2eo%d", os.Getpid()%100000)
	for _, args := range [][]string{
		{"netns", "add", name},
		{"link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name},
		{"address", "add", "198.51.100.1/24", "dev", name},
		{"link", "set", name, "up"},
		{"-n", name, "address", "add", "198.51.100.2/24", "dev", "eth0"},
		{"-n", name, "link", "set", "eth0", "up"},
		{"-n", name, "link", "set", "lo", "up"},
		{"-n", name, "route", "add", "default", "via", "198.51.100.1"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		if args[0] == "netns" {
			t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
		}
		if args[0] == "link" && args[1] == "add" {
			t.Cleanup(func() { _ = exec.Command("ip", "link", "del", name).Run() })
		}
	}
	program := talkProgram(t)
	server := exec.Command("ip", "netns", "exec", name, program, "serve", "tcp:7000", "udp:7000")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	for _, network := range []string{"tcp", "udp"} {
		cluster.Until(t, func() error {
			answer, err := from(s, "one", network, "198.51.100.2:7000")
			if err == nil && !strings.HasSuffix(answer, " 198.51.100.1\n") {
				return fmt.Errorf("the outside sees a pod as %q, not as the node", answer)
			}
			return err
		})
	}
	ask := func(addr string) (string, error) {
		out, err := exec.Command("ip", "netns", "exec", name, program, "tcp", addr).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("%s: %w: %s", addr, err, out)
		}
		return string(out), nil
	}
	nodes, local := service(s, t, "nodes").Spec.Ports[0].NodePort, service(s, t, "local").Spec.Ports[0].NodePort
	both(t, func() (string, error) { return ask(fmt.Sprintf("198.51.100.1:%d", nodes)) }, "one", "two")
	// With the policy Local a pod sees who asks.
	both(t, func() (string, error) {
		answer, err := ask(fmt.Sprintf("198.51.100.1:%d", local))
		if err == nil && !strings.HasSuffix(answer, " 198.51.100.2\n") {
			return "", fmt.Errorf("with the policy Local the pod saw %q", answer)
		}
		return answer, err
	}, "one", "two")
	both(t, func() (string, error) {
		return from(s, "one", "tcp", net.JoinHostPort(service(s, t, "local").Spec.ClusterIP, "80"))
	}, "one", "two")
}
