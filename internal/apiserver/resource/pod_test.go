package resource

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func newPod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx:1"}}},
	}
	for _, f := range change {
		f(pod)
	}
	return pod
}

func onNode(name string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = name } }

func TestPodDefaults(t *testing.T) {
	s := startServer(t)
	got, err := s.CoreV1().Pods("default").Create(context.Background(), newPod("a", func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodRunning // nobody may say so himself
		p.Spec.ServiceAccountName = "x"
	}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Status.Phase != corev1.PodPending || got.Status.QOSClass != corev1.PodQOSBestEffort || got.Generation != 1 {
		t.Errorf("status %+v, generation %d", got.Status, got.Generation)
	}
	spec, _ := json.Marshal(got.Spec)
	want := `{"containers":[{"name":"c","image":"nginx:1","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"x","serviceAccount":"x","securityContext":{},"schedulerName":"default-scheduler","enableServiceLinks":true}`
	if string(spec) != want {
		t.Errorf("spec\ngot  %s\nwant %s", spec, want)
	}
}

func TestBinding(t *testing.T) {
	s := startServer(t)
	ctx := context.Background()
	pods := s.CoreV1().Pods("default")
	if _, err := pods.Create(ctx, newPod("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bind := func(node string, change ...func(*corev1.Binding)) error {
		b := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "default"}, Target: corev1.ObjectReference{Kind: "Node", Name: node}}
		for _, f := range change {
			f(b)
		}
		return pods.Bind(ctx, b, metav1.CreateOptions{})
	}
	if err := bind("n", func(b *corev1.Binding) { b.UID = "other" }); !apierrors.IsConflict(err) {
		t.Errorf("another pod: %v", err)
	}
	if err := bind("n"); err != nil {
		t.Fatal(err)
	}
	pod, _ := pods.Get(ctx, "a", metav1.GetOptions{})
	if pod.Spec.NodeName != "n" || len(pod.Status.Conditions) != 1 || pod.Status.Conditions[0].Status != corev1.ConditionTrue {
		t.Errorf("bound: %q, %+v", pod.Spec.NodeName, pod.Status.Conditions)
	}
	err := bind("m")
	if want := `Operation cannot be fulfilled on pods/binding "a": pod a is already assigned to node "n"`; err == nil || err.Error() != want {
		t.Errorf("bound twice: %v", err)
	}
	if err := bind(""); err == nil || !strings.Contains(err.Error(), "target.name: Required value") {
		t.Errorf("bound to nothing: %v", err)
	}
	list, err := pods.List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=n"})
	if err != nil || len(list.Items) != 1 {
		t.Errorf("by node: %v, %v", list, err)
	}
	if _, err := pods.List(ctx, metav1.ListOptions{FieldSelector: "spec.color=red"}); !apierrors.IsBadRequest(err) {
		t.Errorf("by a field that is none: %v", err)
	}
}

func TestPodDeletion(t *testing.T) {
	s := startServer(t)
	ctx := context.Background()
	pods := s.CoreV1().Pods("default")
	zero, five := int64(0), int64(5)
	create := func(name string, change ...func(*corev1.Pod)) *corev1.Pod {
		t.Helper()
		pod, err := pods.Create(ctx, newPod(name, change...), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return pod
	}
	gone := func(name string) bool {
		_, err := pods.Get(ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}
	create("waiting")
	if err := pods.Delete(ctx, "waiting", metav1.DeleteOptions{}); err != nil || !gone("waiting") {
		t.Errorf("a pod without a node stays: %v", err)
	}
	create("bound", onNode("n"))
	if err := pods.Delete(ctx, "bound", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	pod, err := pods.Get(ctx, "bound", metav1.GetOptions{})
	if err != nil || pod.DeletionTimestamp == nil || *pod.DeletionGracePeriodSeconds != 30 {
		t.Fatalf("a pod that runs: %+v, %v", pod, err)
	}
	if err := pods.Delete(ctx, "bound", metav1.DeleteOptions{GracePeriodSeconds: &five}); err != nil {
		t.Fatal(err)
	}
	if pod, _ = pods.Get(ctx, "bound", metav1.GetOptions{}); *pod.DeletionGracePeriodSeconds != 5 {
		t.Errorf("a shorter period: %d", *pod.DeletionGracePeriodSeconds)
	}
	// The kubelet's last word.
	if err := pods.Delete(ctx, "bound", metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &pod.UID}}); err != nil || !gone("bound") {
		t.Errorf("forced: %v", err)
	}
	create("evicted", onNode("n"))
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "evicted", Namespace: "default"}, DeleteOptions: &metav1.DeleteOptions{GracePeriodSeconds: &zero}}
	if err := pods.EvictV1(ctx, eviction); err != nil || !gone("evicted") {
		t.Errorf("evicted: %v", err)
	}
}

func TestPodStatus(t *testing.T) {
	s := startServer(t)
	ctx := context.Background()
	pods := s.CoreV1().Pods("default")
	if _, err := pods.Create(ctx, newPod("a", onNode("n")), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	patch := `{"spec":{"nodeName":"m"},"status":{"phase":"Running","podIP":"10.1.2.3","containerStatuses":[{"name":"c","ready":true,"restartCount":0,"image":"","imageID":"","state":{"running":{}}}]}}`
	pod, err := pods.Patch(ctx, "a", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	if pod.Spec.NodeName != "n" || pod.Generation != 1 || pod.Status.Phase != corev1.PodRunning || len(pod.Status.PodIPs) != 1 {
		t.Errorf("%+v", pod)
	}
	if list, err := pods.List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Running,status.podIP=10.1.2.3"}); err != nil || len(list.Items) != 1 {
		t.Errorf("by status: %v", err)
	}
	// The main resource keeps the status and counts changes of the spec.
	pod.Status, pod.Spec.Containers[0].Image = corev1.PodStatus{}, "nginx:2"
	if pod, err = pods.Update(ctx, pod, metav1.UpdateOptions{}); err != nil || pod.Status.Phase != corev1.PodRunning || pod.Generation != 2 {
		t.Errorf("%+v, %v", pod, err)
	}
	pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "busybox:1"}}}
	if pod, err = pods.UpdateEphemeralContainers(ctx, "a", pod, metav1.UpdateOptions{}); err != nil || len(pod.Spec.EphemeralContainers) != 1 || pod.Generation != 3 {
		t.Fatalf("ephemeral: %+v, %v", pod, err)
	}
	pod.Spec.EphemeralContainers = nil
	if _, err = pods.UpdateEphemeralContainers(ctx, "a", pod, metav1.UpdateOptions{}); err == nil || !strings.Contains(err.Error(), `existing ephemeral containers "debug" may not be removed`) {
		t.Errorf("ephemeral removed: %v", err)
	}
}

// cells asks for the table that kubectl prints.
func (s *testServer) cells(t *testing.T, path string) (columns []string, rows [][]any) {
	t.Helper()
	_, body := s.request(t, "GET", path, "application/json;as=Table;v=v1;g=meta.k8s.io", "", "")
	var table metav1.Table
	if err := json.Unmarshal([]byte(body), &table); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	for _, c := range table.ColumnDefinitions {
		columns = append(columns, c.Name)
	}
	for _, r := range table.Rows {
		rows = append(rows, r.Cells)
	}
	return columns, rows
}

func TestPodTable(t *testing.T) {
	s := startServer(t)
	ctx := context.Background()
	pods := s.CoreV1().Pods("default")
	if _, err := pods.Create(ctx, newPod("a", onNode("n")), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	patch := `{"status":{"phase":"Running","podIP":"10.1.2.3","containerStatuses":[{"name":"c","ready":false,"restartCount":3,"image":"","imageID":"","state":{"waiting":{"reason":"CrashLoopBackOff"}}}]}}`
	if _, err := pods.Patch(ctx, "a", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	columns, rows := s.cells(t, "/api/v1/namespaces/default/pods")
	if want := []string{"Name", "Ready", "Status", "Restarts", "Age", "IP", "Node", "Nominated Node", "Readiness Gates"}; !slices.Equal(columns, want) {
		t.Errorf("columns %v", columns)
	}
	rows[0][4] = "-"
	if want := "[a 0/1 CrashLoopBackOff 3 - 10.1.2.3 n <none> <none>]"; fmt.Sprint(rows[0]) != want {
		t.Errorf("row %v, want %s", rows[0], want)
	}
}

// kubelet answers what it is asked.
type kubelet struct{ url string }

func (k kubelet) Connect(context.Context, *corev1.Node) (*url.URL, http.RoundTripper, error) {
	u, err := url.Parse(k.url)
	return u, http.DefaultTransport, err
}

func TestPodLog(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("previous") == "true" {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, r.URL.String())
	}))
	defer web.Close()
	s := startServer(t, func(d *Deps) { d.NodeConn = kubelet{web.URL} })
	ctx := context.Background()
	pods := s.CoreV1().Pods("default")
	if _, err := s.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	two := func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "d", Image: "i"})
		p.Spec.InitContainers = []corev1.Container{{Name: "e", Image: "i"}}
	}
	for _, p := range []*corev1.Pod{newPod("one", onNode("n")), newPod("two", onNode("n"), two), newPod("none")} {
		if _, err := pods.Create(ctx, p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ pod, query, want string }{
		{"one", "follow=true&tailLines=7", "/containerLogs/default/one/c?follow=true&tailLines=7"},
		{"two", "container=e&timestamps=true", "/containerLogs/default/two/e?timestamps=true"},
		{"two", "", "a container name must be specified for pod two, choose one of: [c d] or one of the init containers: [e]"},
		{"two", "container=x", "container x is not valid for pod two"},
		{"one", "tailLines=-1", `PodLogOptions \"one\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0`},
		{"none", "", ""},
		{"one", "previous=true", "redirects forbidden"},
	} {
		_, got := s.request(t, "GET", "/api/v1/namespaces/default/pods/"+c.pod+"/log?"+c.query, "", "", "")
		if got != c.want && (c.want == "" || !strings.Contains(got, c.want)) {
			t.Errorf("%s?%s: %q, want %q", c.pod, c.query, got, c.want)
		}
	}
}
