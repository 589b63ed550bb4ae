package kubelet

import (
	"context"
	"os"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"go.skiff.dev/skiff/internal/container"
	"go.skiff.dev/skiff/internal/podnet"
)

// testNetwork is the pod network in the container layer's words.
type testNetwork struct{ net *podnet.Network }

func (n testNetwork) Attach(ctx context.Context, id string, netns *os.File, _ container.NetworkOptions) (container.Attachment, error) {
	a, err := n.net.Attach(ctx, id, netns, podnet.AttachOptions{})
	return container.Attachment{IPs: a.IPs, HostInterface: a.HostInterface}, err
}
func (n testNetwork) Detach(ctx context.Context, id string) error     { return n.net.Detach(ctx, id) }
func (n testNetwork) Recover(ctx context.Context, ids []string) error { return n.net.Recover(ctx, ids) }

// pod makes a pod bound to the node, with one busybox container that runs a
// shell script.
func (c *testCluster) pod(name, script string, change func(*v1.Pod)) *v1.Pod {
	c.t.Helper()
	grace := int64(5)
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
	pod.Spec.NodeName = testNode
	pod.Spec.TerminationGracePeriodSeconds = &grace
	pod.Spec.Containers = []v1.Container{{Name: "main", Image: "busybox", ImagePullPolicy: v1.PullIfNotPresent, Command: []string{"sh", "-c", script}}}
	if change != nil {
		change(pod)
	}
	made, err := c.client.CoreV1().Pods("default").Create(c.t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return made
}

// await waits for a pod to be as wanted; a pod that is gone is given as nil.
func (c *testCluster) await(name, what string, want func(*v1.Pod) bool) *v1.Pod {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	pods := c.client.CoreV1().Pods("default")
	w, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
	if err != nil {
		c.t.Fatal(err)
	}
	defer w.Stop()
	last, err := pods.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		last = nil
	}
	for {
		if want(last) {
			return last
		}
		select {
		case e, ok := <-w.ResultChan():
			if !ok {
				c.t.Fatalf("the watch of pod %s ended", name)
			}
			if last, _ = e.Object.(*v1.Pod); e.Type == "DELETED" {
				last = nil
			}
		case <-ctx.Done():
			c.explain(name, last)
			c.t.Fatalf("pod %s: not %s", name, what)
		}
	}
}

func (c *testCluster) explain(name string, pod *v1.Pod) {
	c.t.Helper()
	if pod != nil {
		c.t.Logf("phase %s, conditions %+v, containers %+v, init %+v", pod.Status.Phase, pod.Status.Conditions, pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses)
	}
	events, err := c.client.CoreV1().Events("default").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return
	}
	for _, e := range events.Items {
		if e.InvolvedObject.Name == name {
			c.t.Logf("event %s %s: %s (x%d)", e.Type, e.Reason, e.Message, e.Count)
		}
	}
}

func isReady(pod *v1.Pod) bool {
	if pod == nil {
		return false
	}
	for _, cond := range pod.Status.Conditions {
		if cond.Type == v1.PodReady {
			return cond.Status == v1.ConditionTrue
		}
	}
	return false
}

func (c *testCluster) ready(name string) *v1.Pod { return c.await(name, "ready", isReady) }

// remove deletes a pod and waits until it is gone.
func (c *testCluster) remove(name string) {
	c.t.Helper()
	if err := c.client.CoreV1().Pods("default").Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
		c.t.Fatal(err)
	}
	c.await(name, "gone", func(p *v1.Pod) bool { return p == nil })
}
