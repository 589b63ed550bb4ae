package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
	"sigs.k8s.io/yaml"
)

// Config is the administrator's way to the API server.
func (c *Cluster) Config(t testing.TB) *rest.Config {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", filepath.Join(c.Dir, "kubeconfig.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS = -1
	return cfg
}

// Space is a namespace of one test, with what the test asks of it. Unlike a
// Cluster it belongs to the test that made it, so that tests may run beside
// each other in one cluster.
type Space struct {
	t testing.TB
	c *Cluster
	// Name is the namespace.
	Name   string
	Client kubernetes.Interface
	config *rest.Config
}

// Space makes the namespace and applies manifest files in it.
func (c *Cluster) Space(t testing.TB, name string, manifests ...string) *Space {
	t.Helper()
	s := &Space{t: t, c: c, Name: name, config: c.Config(t)}
	var err error
	if s.Client, err = kubernetes.NewForConfig(s.config); err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := s.Client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, file := range manifests {
		s.Kubectl("apply", "-f", file)
	}
	return s
}

// For is the same space in the hands of a subtest.
func (s *Space) For(t testing.TB) *Space {
	own := *s
	own.t = t
	return &own
}

// Try runs kubectl in the namespace and returns stdout and stderr together.
func (s *Space) Try(args ...string) (string, error) {
	out, err := s.c.Command("kubectl", append([]string{"-n", s.Name}, args...)...).CombinedOutput()
	return string(out), err
}

// Kubectl runs kubectl in the namespace; it has to work.
func (s *Space) Kubectl(args ...string) string {
	s.t.Helper()
	out, err := s.Try(args...)
	if err != nil {
		s.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// Apply applies a manifest that the test wrote itself.
func (s *Space) Apply(manifest string) {
	s.t.Helper()
	cmd := s.c.Command("kubectl", "-n", s.Name, "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(manifest)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("applying: %v\n%s\n%s", err, out, manifest)
	}
}

// Pod reads a pod.
func (s *Space) Pod(name string) *corev1.Pod {
	s.t.Helper()
	pod, err := s.Client.CoreV1().Pods(s.Name).Get(s.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return pod
}

// When watches a pod until it is as wanted, and returns it so. The pod may not
// be there yet.
func (s *Space) When(name, wanted string, is func(*corev1.Pod) bool) *corev1.Pod {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*patience)
	defer cancel()
	w, err := s.Client.CoreV1().Pods(s.Name).Watch(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String(),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	defer w.Stop()
	var last *corev1.Pod
	for event := range w.ResultChan() {
		pod, ok := event.Object.(*corev1.Pod)
		if !ok {
			s.t.Fatalf("watching pod %s: %v", name, event.Object)
		}
		if last = pod; is(pod) {
			return pod
		}
	}
	s.Describe(last)
	s.t.Fatalf("pod %s is not %s after a minute", name, wanted)
	return nil
}

// Describe logs all that is known of a pod, for a test that failed.
func (s *Space) Describe(pod *corev1.Pod) {
	s.t.Helper()
	if pod == nil {
		s.t.Log("there is no such pod")
		return
	}
	status, err := yaml.Marshal(pod.Status)
	s.t.Logf("pod %s (%v):\n%s", pod.Name, err, status)
	for _, e := range s.Events(pod.Name) {
		s.t.Logf("event %s %s x%d: %s", e.Type, e.Reason, e.Count, e.Message)
	}
	for _, container := range pod.Spec.Containers {
		if log, err := s.log(pod.Name, &corev1.PodLogOptions{Container: container.Name}); err == nil && log != "" {
			s.t.Logf("log of %s:\n%s", container.Name, log)
		}
	}
}

// Ready waits until a pod is Ready.
func (s *Space) Ready(name string) *corev1.Pod {
	s.t.Helper()
	return s.When(name, "Ready", IsReady)
}

// Ended waits until a pod has succeeded or failed.
func (s *Space) Ended(name string) *corev1.Pod {
	s.t.Helper()
	return s.When(name, "ended", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	})
}

// Succeeded waits until a pod has ended, all is well only if it succeeded, and
// returns the log of its only container.
func (s *Space) Succeeded(name string) string {
	s.t.Helper()
	pod := s.Ended(name)
	if pod.Status.Phase != corev1.PodSucceeded {
		s.Describe(pod)
		s.t.Fatalf("pod %s is %s", name, pod.Status.Phase)
	}
	return s.Log(name, pod.Spec.Containers[0].Name)
}

// Gone waits until a pod is no more.
func (s *Space) Gone(name string) {
	s.t.Helper()
	Until(s.t, func() error {
		pod, err := s.Client.CoreV1().Pods(s.Name).Get(s.t.Context(), name, metav1.GetOptions{})
		if err == nil {
			return fmt.Errorf("pod %s is still there, %s", name, pod.Status.Phase)
		}
		return nil
	})
}

// Log is what a container wrote.
func (s *Space) Log(pod, container string) string {
	s.t.Helper()
	log, err := s.log(pod, &corev1.PodLogOptions{Container: container})
	if err != nil {
		s.t.Fatalf("log of %s in %s: %v", container, pod, err)
	}
	return log
}

func (s *Space) log(pod string, o *corev1.PodLogOptions) (string, error) {
	data, err := s.Client.CoreV1().Pods(s.Name).GetLogs(pod, o).DoRaw(s.t.Context())
	return string(data), err
}

// Events are the events about a pod.
func (s *Space) Events(pod string) []corev1.Event {
	s.t.Helper()
	list, err := s.Client.CoreV1().Events(s.Name).List(s.t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod})
	if err != nil {
		s.t.Fatal(err)
	}
	return list.Items
}

// Event waits for an event about a pod with the reason, and text in its message.
func (s *Space) Event(pod, reason, text string) corev1.Event {
	s.t.Helper()
	var found corev1.Event
	Until(s.t, func() error {
		var seen []string
		for _, e := range s.Events(pod) {
			if found = e; e.Reason == reason && strings.Contains(e.Message, text) {
				return nil
			}
			seen = append(seen, e.Reason+": "+e.Message)
		}
		return fmt.Errorf("no event %s with %q about %s, only %q", reason, text, pod, seen)
	})
	return found
}

// Exec runs a command in a container and returns what it wrote to stdout.
func (s *Space) Exec(pod, container string, command ...string) string {
	s.t.Helper()
	out, err := s.TryExec(pod, container, command...)
	if err != nil {
		s.t.Fatalf("exec %q in %s of %s: %v\n%s", command, container, pod, err, out)
	}
	return out
}

// TryExec runs a command in a container; the error ends with its stderr.
func (s *Space) TryExec(pod, container string, command ...string) (string, error) {
	req := s.Client.CoreV1().RESTClient().Post().Resource("pods").Namespace(s.Name).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(s.config, "GET", req.URL().String())
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	err = executor.StreamWithContext(s.t.Context(), remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr})
	if err != nil {
		err = errors.Join(err, errors.New(strings.TrimSpace(stderr.String())))
	}
	return stdout.String(), err
}

// IsReady tells whether a pod is Ready.
func IsReady(pod *corev1.Pod) bool {
	return Condition(pod, corev1.PodReady).Status == corev1.ConditionTrue
}

// Condition is a pod's condition; one without a status if it has none such.
func Condition(pod *corev1.Pod, kind corev1.PodConditionType) corev1.PodCondition {
	for _, c := range pod.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.PodCondition{}
}

// Container is the status of a pod's container of any sort.
func Container(pod *corev1.Pod, name string) corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		for _, status := range list {
			if status.Name == name {
				return status
			}
		}
	}
	return corev1.ContainerStatus{}
}

// Exit is how a container ended: now, or else before its last restart.
func Exit(pod *corev1.Pod, name string) corev1.ContainerStateTerminated {
	status := Container(pod, name)
	for _, state := range []corev1.ContainerState{status.State, status.LastTerminationState} {
		if state.Terminated != nil {
			return *state.Terminated
		}
	}
	return corev1.ContainerStateTerminated{ExitCode: -1}
}
