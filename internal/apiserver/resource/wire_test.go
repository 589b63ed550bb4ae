package resource

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
)

// TestWire goes through every verb with the external types registered as their
// own hub version.
func TestWire(t *testing.T) {
	s := startServer(t)
	ctx := context.Background()
	maps := s.CoreV1().ConfigMaps("default")

	w, err := maps.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	cm, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string]string{"k": "v"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cm.Data["k"] = "w"
	if _, err = maps.Update(ctx, cm, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		kind types.PatchType
		body string
	}{
		{types.MergePatchType, `{"data":{"merge":"1"}}`},
		{types.StrategicMergePatchType, `{"data":{"strategic":"1"}}`},
		{types.JSONPatchType, `[{"op":"add","path":"/data/json","value":"1"}]`},
	} {
		if _, err := maps.Patch(ctx, "a", p.kind, []byte(p.body), metav1.PatchOptions{}); err != nil {
			t.Errorf("patch %s: %v", p.kind, err)
		}
	}
	apply := applycorev1.ConfigMap("a", "default").WithData(map[string]string{"apply": "1"})
	if cm, err = maps.Apply(ctx, apply, metav1.ApplyOptions{FieldManager: "test"}); err != nil {
		t.Errorf("apply: %v", err)
	} else if len(cm.Data) != 5 {
		t.Errorf("after all patches: %v", cm.Data)
	}
	list, err := maps.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=a"})
	if err != nil || len(list.Items) != 1 {
		t.Errorf("list: %v, %v", list, err)
	}
	if _, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("creating twice: %v", err)
	}
	if err := maps.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Errorf("delete: %v", err)
	}
	for _, want := range []watch.EventType{watch.Added, watch.Modified, watch.Modified, watch.Modified, watch.Modified, watch.Modified, watch.Deleted} {
		if event := <-w.ResultChan(); event.Type != want {
			t.Fatalf("watch: %v, want %v", event, want)
		}
	}
}

func TestListItemsAreAnonymous(t *testing.T) {
	s := startServer(t)
	if code, body := s.request(t, "POST", "/api/v1/namespaces/default/configmaps", "", "application/json", `{"metadata":{"name":"a"}}`); code != 201 || !strings.Contains(body, `"kind":"ConfigMap"`) {
		t.Errorf("create: %d %s", code, body)
	}
	for _, query := range []string{"", "?resourceVersion=0"} {
		_, body := s.request(t, "GET", "/api/v1/namespaces/default/configmaps"+query, "application/json", "", "")
		if strings.Contains(body, `"kind":"ConfigMap"`) || !strings.Contains(body, `"name":"a"`) {
			t.Errorf("list%s: %s", query, body)
		}
	}
}
