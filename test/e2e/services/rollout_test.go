package services

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

// rollout changes a Deployment while it is called by its name from a pod and by
// its node port from the node, and scales it to nothing and back.
func rollout(t *testing.T, s *cluster.Space) {
	s.Kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	s.Ready("load")
	addr := fmt.Sprintf("127.0.0.1:%d", service(s, t, "web").Spec.Ports[0].NodePort)
	both(t, func() (string, error) { return ask("tcp", addr) }, podNames(t, s)...)
	stop, done := make(chan struct{}), make(chan string)
	go func() {
		var lost []error
		calls := 0
		for {
			select {
			case <-stop:
				done <- fmt.Sprintf("failed %d of %d: %v", len(lost), calls, errors.Join(lost...))
				return
			default:
			}
			calls++
			if answer, err := ask("tcp", addr); err != nil || answer == "" {
				lost = append(lost, fmt.Errorf("answer %q: %w", answer, err))
			}
			time.Sleep(5 * time.Millisecond) //nolint:forbidigo // one call after the other, at this pace
		}
	}()
	inside := make(chan string)
	go func() {
		out, err := s.TryExec("load", "c", "/talk", "load", "web:80")
		inside <- fmt.Sprint(out, err)
	}()
	s.Kubectl("set", "env", "deployment/web", "VERSION=2")
	s.Kubectl("rollout", "status", "deployment/web", "--timeout=90s")
	close(stop)
	if said := <-done; !strings.HasPrefix(said, "failed 0 of") {
		t.Errorf("by the node port: %s", said)
	}
	stopLoad(t)
	if said := <-inside; !strings.Contains(said, " failed 0 ") {
		t.Errorf("by the name: %s", said)
	}
	s.Kubectl("scale", "deployment/web", "--replicas=0")
	cluster.Until(t, func() error {
		if _, err := ask("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("with no pod: %v", err)
		}
		return nil
	})
	s.Kubectl("scale", "deployment/web", "--replicas=2")
	s.Kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	both(t, func() (string, error) { return ask("tcp", addr) }, podNames(t, s)...)
}

// stopLoad ends the load by its signal; there is no other `talk load`.
func stopLoad(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil && string(data) == "/talk\x00load\x00web:80\x00" {
			var pid int
			if _, err := fmt.Sscan(filepath.Base(filepath.Dir(f)), &pid); err == nil {
				_ = syscall.Kill(pid, syscall.SIGUSR1)
			}
		}
	}
}

// podNames lists the pods of the Deployment that stay.
func podNames(t *testing.T, s *cluster.Space) []string {
	t.Helper()
	list, err := s.Client.CoreV1().Pods(s.Name).List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			found = append(found, p.Name)
		}
	}
	return found
}
