// Package services tests Services and cluster DNS from the places from which
// they are used: pods, the node, and a machine beside it.
package services

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"go.skiff.dev/skiff/test/e2e/cluster"
	"go.skiff.dev/skiff/test/testimage"
)

// TestServices starts one cluster for all.
func TestServices(t *testing.T) {
	c := cluster.Start(t)
	c.Import(talk(t))
	s := c.Space(t, "services", "testdata/services.yaml")
	s.Ready("one")
	s.Ready("two")
	for name, test := range map[string]func(*testing.T, *cluster.Space){
		"ports": ports, "node ports": nodePorts, "affinity": affinity, "not ready": notReady, "nobody": nobody,
		"hairpin": hairpin, "changes": changes, "environment": environment, "api": api, "outside": outside, "names": names,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s.For(t))
		})
	}
	t.Run("rollout", func(t *testing.T) {
		t.Parallel()
		rollout(t, c.Space(t, "rollout", "testdata/rollout.yaml"))
	})
}

// talk builds the program that answers and asks, and packs it.
func talk(t *testing.T) testimage.Image {
	t.Helper()
	body, err := os.ReadFile(talkProgram(t))
	if err != nil {
		t.Fatal(err)
	}
	return testimage.Image{
		Names:  []string{"e2e/talk:1"},
		Layers: []testimage.Layer{{testimage.Dir("etc", 0o755), testimage.File("talk", 0o755, body)}},
		Config: ocispec.ImageConfig{Entrypoint: []string{"/talk"}},
	}
}

// talkProgram builds the program.
func talkProgram(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "talk")
	cmd := exec.Command("go", "build", "-o", program, "./talk")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building talk: %v\n%s", err, out)
	}
	return program
}

// service reads a Service.
func service(s *cluster.Space, t *testing.T, name string) *corev1.Service {
	t.Helper()
	svc, err := s.Client.CoreV1().Services(s.Name).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return svc
}

// ask asks from the node.
func ask(network, addr string) (string, error) {
	c, err := net.DialTimeout(network, addr, 3*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return "", err
	}
	if network == "udp" {
		if _, err := c.Write([]byte("?")); err != nil {
			return "", err
		}
		buf := make([]byte, 1500)
		n, err := c.Read(buf)
		return string(buf[:n]), err
	}
	data, err := io.ReadAll(c)
	return string(data), err
}

// from asks from a pod.
func from(s *cluster.Space, pod, network, addr string) (string, error) {
	out, err := s.TryExec(pod, "c", "/talk", network, addr)
	if err != nil {
		return out, fmt.Errorf("%s from %s: %w: %s", addr, pod, err, out)
	}
	return out, nil
}

// both waits until each of the pods has answered some of the calls.
func both(t *testing.T, ask func() (string, error), want ...string) {
	t.Helper()
	cluster.Until(t, func() error {
		seen := map[string]bool{}
		for range 12 * len(want) {
			answer, err := ask()
			if err != nil {
				return err
			}
			name, _, _ := strings.Cut(answer, " ")
			seen[name] = true
		}
		for _, name := range want {
			if !seen[name] {
				return fmt.Errorf("%v answered, want %q", seen, want)
			}
		}
		if len(seen) != len(want) {
			return fmt.Errorf("%v answered, want %q", seen, want)
		}
		return nil
	})
}

func ports(t *testing.T, s *cluster.Space) {
	ip := service(s, t, "pair").Spec.ClusterIP
	for _, c := range []struct{ network, port string }{{"tcp", "80"}, {"udp", "80"}, {"tcp", "81"}} {
		both(t, func() (string, error) { return ask(c.network, net.JoinHostPort(ip, c.port)) }, "one", "two")
		if _, err := from(s, "one", c.network, net.JoinHostPort("pair", c.port)); err != nil {
			t.Error(err)
		}
	}
	// A pod that calls a service is seen by its own address.
	cluster.Until(t, func() error {
		answer, err := from(s, "one", "tcp", "pair:80")
		if err == nil && strings.HasPrefix(answer, "two ") && answer != "two "+s.Pod("one").Status.PodIP+"\n" {
			t.Errorf("the endpoint saw %q", answer)
		}
		if err == nil && !strings.HasPrefix(answer, "two ") {
			err = errors.New("the other did not answer yet")
		}
		return err
	})
}

func nodePorts(t *testing.T, s *cluster.Space) {
	svc := service(s, t, "nodes")
	node := s.Pod("one").Status.HostIP
	for _, p := range svc.Spec.Ports {
		network, number := strings.ToLower(string(p.Protocol)), fmt.Sprint(p.NodePort)
		for _, host := range []string{node, "127.0.0.1", "::1"} {
			both(t, func() (string, error) { return ask(network, net.JoinHostPort(host, number)) }, "one", "two")
		}
		if _, err := from(s, "one", network, net.JoinHostPort(node, number)); err != nil {
			t.Error(err)
		}
	}
}

func affinity(t *testing.T, s *cluster.Space) {
	addr := net.JoinHostPort(service(s, t, "sticky").Spec.ClusterIP, "80")
	var first string
	cluster.Until(t, func() (err error) { first, err = ask("tcp", addr); return })
	for range 30 {
		if answer, err := ask("tcp", addr); err != nil || answer != first {
			t.Fatalf("answered %q (%v), before %q", answer, err, first)
		}
	}
	s.Kubectl("patch", "service", "sticky", "-p", `{"spec":{"sessionAffinity":"None"}}`)
	both(t, func() (string, error) { return ask("tcp", addr) }, "one", "two")
}

func notReady(t *testing.T, s *cluster.Space) {
	s.When("lame", "running", func(p *corev1.Pod) bool {
		return p.Status.PodIP != "" && cluster.Container(p, "c").State.Running != nil
	})
	both(t, func() (string, error) { return ask("tcp", service(s, t, "unready-ip").Spec.ClusterIP+":80") }, "lame")
	if _, err := ask("tcp", service(s, t, "lame").Spec.ClusterIP+":80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a Service whose only pod is not ready: %v", err)
	}
	cluster.Until(t, func() error { _, err := from(s, "one", "tcp", "lame.unready:8080"); return err })
}

func nobody(t *testing.T, s *cluster.Space) {
	svc := service(s, t, "empty")
	node := s.Pod("one").Status.HostIP
	for _, addr := range []string{svc.Spec.ClusterIP + ":80", fmt.Sprintf("%s:%d", node, svc.Spec.Ports[0].NodePort), fmt.Sprintf("127.0.0.1:%d", svc.Spec.Ports[0].NodePort)} {
		begun := time.Now()
		_, err := ask("tcp", addr)
		if took := time.Since(begun); !errors.Is(err, syscall.ECONNREFUSED) || took > time.Second {
			t.Errorf("%s: %v after %s", addr, err, took)
		}
	}
	if _, err := from(s, "one", "tcp", "empty:80"); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("from a pod: %v", err)
	}
}

func hairpin(t *testing.T, s *cluster.Space) {
	addr := service(s, t, "pair").Spec.ClusterIP + ":80"
	both(t, func() (string, error) { return from(s, "one", "tcp", addr) }, "one", "two")
}

func changes(t *testing.T, s *cluster.Space) {
	ip := service(s, t, "changing").Spec.ClusterIP
	both(t, func() (string, error) { return ask("tcp", ip+":80") }, "one")
	s.Kubectl("patch", "service", "changing", "-p", `{"spec":{"selector":{"color":"blue"}}}`)
	both(t, func() (string, error) { return ask("tcp", ip+":80") }, "two")
	s.Kubectl("patch", "service", "changing", "--type=json", `-p=[{"op":"replace","path":"/spec/ports/0/port","value":8000}]`)
	both(t, func() (string, error) { return ask("tcp", ip+":8000") }, "two")
	cluster.Until(t, func() error {
		if _, err := ask("tcp", ip+":80"); err == nil {
			return errors.New("the old port still answers")
		}
		return nil
	})
	s.Kubectl("patch", "service", "changing", "-p", `{"spec":{"type":"NodePort"}}`)
	port := service(s, t, "changing").Spec.Ports[0].NodePort
	both(t, func() (string, error) { return ask("tcp", fmt.Sprintf("127.0.0.1:%d", port)) }, "two")
	s.Kubectl("patch", "service", "changing", "-p", `{"spec":{"type":"ClusterIP"}}`)
	if svc := service(s, t, "changing"); svc.Spec.Ports[0].NodePort != 0 || svc.Spec.ClusterIP != ip {
		t.Errorf("back to ClusterIP: %+v", svc.Spec)
	}
	cluster.Until(t, func() error {
		if _, err := ask("tcp", fmt.Sprintf("127.0.0.1:%d", port)); !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("the old node port: %v", err)
		}
		return nil
	})
	s.Kubectl("patch", "service", "changing", "--type=merge", "-p", `{"spec":{"type":"ExternalName","externalName":"example.com","clusterIP":null,"clusterIPs":null,"selector":null}}`)
	if svc := service(s, t, "changing"); svc.Spec.ClusterIP != "" {
		t.Errorf("an ExternalName has the address %s", svc.Spec.ClusterIP)
	}
	s.Kubectl("patch", "service", "changing", "--type=merge", "-p", `{"spec":{"type":"ClusterIP","externalName":null,"selector":{"color":"red"}}}`)
	both(t, func() (string, error) { return ask("tcp", service(s, t, "changing").Spec.ClusterIP+":8000") }, "one")
}

func environment(t *testing.T, s *cluster.Space) {
	svc := service(s, t, "pair")
	s.Apply(`
apiVersion: v1
kind: Pod
metadata: {name: late}
spec:
  restartPolicy: Never
  containers: [{name: c, image: "e2e/talk:1", args: [tcp, "$(PAIR_SERVICE_HOST):$(PAIR_SERVICE_PORT_OTHER)"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: without}
spec:
  restartPolicy: Never
  enableServiceLinks: false
  containers: [{name: c, image: "e2e/talk:1", args: [tcp, "$(PAIR_SERVICE_HOST):80"]}]
`)
	if out := s.Succeeded("late"); !strings.HasPrefix(out, "one ") && !strings.HasPrefix(out, "two ") {
		t.Errorf("by the variables of %s: %q", svc.Name, out)
	}
	if s.Ended("without"); !strings.Contains(s.Log("without", "c"), "$(PAIR_SERVICE_HOST)") {
		t.Errorf("without service links: %q", s.Log("without", "c"))
	}
}

func api(t *testing.T, s *cluster.Space) {
	out := s.Exec("one", "c", "/talk", "api", "/version")
	if !strings.HasPrefix(out, "200 OK\n") || !strings.Contains(out, `"gitVersion"`) {
		t.Errorf("the API server told a pod %q", out)
	}
}
