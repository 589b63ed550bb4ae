package pods

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

const sleeper = `
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: "e2e/busybox:1", command: [sleep, "1000"]}]
`

func status(t *testing.T, c *cluster.Cluster) {
	s := c.Space(t, "status")
	t.Run("conditions", func(t *testing.T) { conditions(t, s.For(t)) })
	t.Run("deleted while it starts", func(t *testing.T) {
		s := s.For(t)
		for i := range 5 {
			name := fmt.Sprintf("hasty-%d", i)
			s.Apply(fmt.Sprintf(sleeper, name))
			s.Kubectl("delete", "pod", name, "--wait=false")
			s.Gone(name)
		}
	})
	t.Run("the same name again", func(t *testing.T) {
		s := s.For(t)
		s.Apply(fmt.Sprintf(sleeper, "again"))
		first := s.Ready("again")
		s.Kubectl("delete", "pod", "again", "--grace-period=0", "--force")
		s.Apply(fmt.Sprintf(sleeper, "again"))
		if second := s.Ready("again"); second.UID == first.UID || second.Status.PodIP == "" {
			t.Errorf("the second pod %+v", second.Status)
		}
	})
	t.Run("node", func(t *testing.T) { node(t, c, s.For(t)) })
	t.Run("generation", func(t *testing.T) {
		s := s.For(t)
		s.Apply(fmt.Sprintf(sleeper, "generation"))
		if pod := s.Ready("generation"); pod.Generation != 1 || pod.Status.ObservedGeneration != 1 {
			t.Errorf("generation %d, observed %d", pod.Generation, pod.Status.ObservedGeneration)
		}
		s.Kubectl("set", "image", "pod/generation", "c=e2e/busybox:1.0")
		s.When("generation", "seen with its new image", func(p *corev1.Pod) bool { return p.Generation == 2 && p.Status.ObservedGeneration == 2 })
	})
}

func conditions(t *testing.T, s *cluster.Space) {
	s.Apply(fmt.Sprintf(sleeper, "good"))
	pod := s.Ready("good")
	for _, kind := range []corev1.PodConditionType{corev1.PodReady, corev1.ContainersReady, corev1.PodInitialized, corev1.PodScheduled, corev1.PodReadyToStartContainers} {
		cond := cluster.Condition(pod, kind)
		if cond.Status != corev1.ConditionTrue || cond.LastTransitionTime.IsZero() || cond.LastTransitionTime.Before(&pod.CreationTimestamp) {
			t.Errorf("condition %s: %+v", kind, cond)
		}
	}
	status := cluster.Container(pod, "c")
	if pod.Status.StartTime == nil || pod.Status.HostIP == "" || len(pod.Status.PodIPs) == 0 || len(pod.Status.HostIPs) == 0 ||
		status.ImageID == "" || status.Image == "" || status.Started == nil || !*status.Started || status.State.Running.StartedAt.IsZero() {
		s.Describe(pod)
		t.Error("the status lacks something")
	}
	for reason, text := range map[string]string{
		"Scheduled": "Successfully assigned status/good to ", "Pulled": `Container image "e2e/busybox:1" already present on machine`,
		"Created": "Container created", "Started": "Container started",
	} {
		s.Event("good", reason, text)
	}
	s.Kubectl("delete", "pod", "good", "--wait=false")
	s.Event("good", "Killing", "Stopping container c")
	s.Gone("good")
}

func node(t *testing.T, c *cluster.Cluster, s *cluster.Space) {
	node, err := s.Client.CoreV1().Nodes().Get(t.Context(), c.Status().Node.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	info := node.Status.NodeInfo
	if _, err := version.ParseSemantic(info.KubeletVersion); err != nil || info.KernelVersion == "" || info.ContainerRuntimeVersion == "" || info.BootID == "" || info.MachineID == "" || info.OSImage == "" {
		t.Errorf("node info %+v", info)
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourcePods, corev1.ResourceEphemeralStorage} {
		if capacity, free := node.Status.Capacity[name], node.Status.Allocatable[name]; capacity.IsZero() || free.IsZero() || free.Cmp(capacity) > 0 {
			t.Errorf("%s: capacity %s, allocatable %s", name, &capacity, &free)
		}
	}
	for _, label := range []string{"kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch", "beta.kubernetes.io/os"} {
		if node.Labels[label] == "" {
			t.Errorf("the node has no label %s", label)
		}
	}
	if len(node.Status.Images) == 0 || len(node.Spec.PodCIDRs) == 0 || len(node.Status.Addresses) < 2 {
		t.Errorf("images %v, CIDRs %v, addresses %v", node.Status.Images, node.Spec.PodCIDRs, node.Status.Addresses)
	}
}

func ephemeral(t *testing.T, c *cluster.Cluster) {
	s := c.Space(t, "ephemeral")
	s.Apply(fmt.Sprintf(sleeper, "target"))
	pod := s.Ready("target")
	pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{
		TargetContainerName:      "c",
		EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "look", Image: "e2e/busybox:1", Command: []string{"sh", "-c", "ps -o args; sleep 1000"}},
	}}
	if _, err := s.Client.CoreV1().Pods(s.Name).UpdateEphemeralContainers(t.Context(), "target", pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.When("target", "looked at", func(p *corev1.Pod) bool { return cluster.Container(p, "look").State.Running != nil })
	// It joins the namespace of its target's processes.
	if all := s.Exec("target", "look", "cat", "/proc/1/cmdline"); all != "sleep\x001000\x00" {
		t.Errorf("process 1 is %q", all)
	}
}
