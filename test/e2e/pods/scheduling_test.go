package pods

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

func scheduling(t *testing.T, c *cluster.Cluster) {
	s := c.Space(t, "scheduling", "testdata/scheduling.yaml")
	for _, name := range []string{"huge", "elsewhere", "affine"} {
		t.Run(name, func(t *testing.T) {
			s := s.For(t)
			pod := s.When(name, "unschedulable", func(p *corev1.Pod) bool {
				return cluster.Condition(p, corev1.PodScheduled).Reason == corev1.PodReasonUnschedulable
			})
			if message := cluster.Condition(pod, corev1.PodScheduled).Message; !strings.HasPrefix(message, pod.Annotations["says"]) {
				t.Errorf("it says %q, want %q", message, pod.Annotations["says"])
			}
			s.Event(name, "FailedScheduling", pod.Annotations["says"])
		})
	}
	t.Run("gate", func(t *testing.T) {
		s := s.For(t)
		s.When("held", "held", func(p *corev1.Pod) bool {
			return cluster.Condition(p, corev1.PodScheduled).Reason == corev1.PodReasonSchedulingGated
		})
		s.Kubectl("patch", "pod", "held", "--type=json", `-p=[{"op":"remove","path":"/spec/schedulingGates"}]`)
		s.Ready("held")
	})
	t.Run("selector", func(t *testing.T) { s.For(t).Ready("linux") })
	t.Run("host port", func(t *testing.T) { hostPort(t, s.For(t)) })
	t.Run("node label lets a pod go", func(t *testing.T) {
		s := s.For(t)
		s.Kubectl("label", "node", c.Status().Node.Name, "nowhere=true")
		s.When("elsewhere", "scheduled", func(p *corev1.Pod) bool { return p.Spec.NodeName != "" })
	})
}

func hostPort(t *testing.T, s *cluster.Space) {
	pod := s.Ready("port-one")
	for _, host := range []string{"127.0.0.1", pod.Status.HostIP} {
		cluster.Until(t, func() error { return says("http://"+host+":54321/", "by host port\n") })
	}
	// A second pod on the same port of the only node finds no place.
	s.Apply(`
apiVersion: v1
kind: Pod
metadata: {name: port-two}
spec:
  containers: [{name: c, image: "e2e/busybox:1", command: [sleep, "1000"], ports: [{containerPort: 8081, hostPort: 54321}]}]
`)
	two := s.When("port-two", "unschedulable", func(p *corev1.Pod) bool {
		return cluster.Condition(p, corev1.PodScheduled).Reason == corev1.PodReasonUnschedulable
	})
	if message := cluster.Condition(two, corev1.PodScheduled).Message; !strings.Contains(message, "1 node(s) didn't have free ports for the requested pod ports") {
		t.Errorf("it says %q", message)
	}
	s.Kubectl("delete", "pod", "port-one")
	s.Ready("port-two")
}

// says fetches an URL and compares the answer.
func says(url, want string) error {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if string(body) != want {
		return fmt.Errorf("%s said %q, want %q", url, body, want)
	}
	return nil
}
