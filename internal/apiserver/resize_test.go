package apiserver_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"go.skiff.dev/skiff/internal/apiserver/apitest"
)

// TestResizeWithinTheNode: more than a node has to all pods is refused at once; of
// less, the node decides.
func TestResizeWithinTheNode(t *testing.T) {
	s := apitest.Start(t)
	client := s.Client()
	ns := s.Namespace(t)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "small"}}
	node, err := client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi")}
	if _, err := client.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	create := func(name, node string) {
		t.Helper()
		pod := newPod(name)
		pod.Spec.NodeName = node
		pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Mi")}
		if _, err := client.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create("p", "small")
	create("lost", "nowhere")
	create("free", "")
	resize := func(name, cpu, memory string) (*corev1.Pod, error) {
		patch := `{"spec":{"containers":[{"name":"c","image":"skiff.dev/hello:2","resources":{"requests":{"cpu":"` + cpu + `","memory":"` + memory + `"}}}]}}`
		return client.CoreV1().Pods(ns).Patch(t.Context(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "resize")
	}
	got, err := resize("p", "2", "512Mi")
	if err != nil || got.Generation != 2 || got.Spec.Containers[0].Resources.Requests.Cpu().String() != "2" || got.Spec.Containers[0].Image != "skiff.dev/hello:1" {
		t.Errorf("within the node: %+v %v", got, err)
	}
	_, err = resize("p", "3", "2Gi")
	if want := "node didn't have enough allocatable resources: cpu, requested: 3000, allocatable: 2000; memory, requested: 2147483648, allocatable: 1073741824"; !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want) || !apierrors.HasStatusCause(err, "NodeCapacity") {
		t.Errorf("beyond the node: %v", err)
	}
	if _, err := resize("lost", "500m", "1Mi"); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `node "nowhere" not found`) {
		t.Errorf("on no node: %v", err)
	}
	if got, err := resize("free", "3", "2Gi"); err != nil || got.Generation != 2 {
		t.Errorf("without a node: %v", err)
	}
}
