// Package cut is what a virtual machine of test/vm does until its power is cut,
// and what it must find when it boots again.
package cut

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"go.skiff.dev/skiff/test/vm/plan"
)

// TestRound starts skiff, finds what was acknowledged in earlier rounds, and
// goes on until the power is cut, or stops in the last round. What it does it
// says on its output, line by line: the host decides by that when to cut.
func TestRound(t *testing.T) {
	var before plan.Cut
	text := os.Getenv(plan.CutVariable)
	if text == "" {
		t.Skip("runs in a virtual machine whose power is cut; see test/vm")
	}
	if err := json.Unmarshal([]byte(text), &before); err != nil {
		t.Fatal(err)
	}
	skiff(t, "up", "--detach")
	cfg, err := clientcmd.BuildConfigFromFlags("", "/etc/skiff/kubeconfig.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS = -1
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := round{t, before, client}
	r.objects()
	have := r.images()
	r.pods(have)
	if t.Failed() || before.Last {
		skiff(t, "down")
		return
	}
	go r.write()
	r.importAll(have)
	select {} // the power is cut
}

type round struct {
	t      *testing.T
	before plan.Cut
	client kubernetes.Interface
}

// skiff runs the command and shows what it says if it fails.
func skiff(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("skiff", args...).CombinedOutput()
	if err != nil {
		log, _ := os.ReadFile("/var/lib/skiff/skiff.log")
		t.Fatalf("skiff %s: %v\n%s\nits log:\n%s", strings.Join(args, " "), err, out, log[max(0, len(log)-16<<10):])
	}
	return string(out)
}

// objects finds every object whose creation was acknowledged.
func (r round) objects() {
	list, err := r.client.CoreV1().ConfigMaps("default").List(r.t.Context(), metav1.ListOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	there := map[string]bool{}
	for _, m := range list.Items {
		there[m.Name] = m.Data["n"] != ""
	}
	for n := range r.before.Objects {
		if !there[object(n)] {
			r.t.Errorf("object %d of %d was acknowledged and is lost", n, r.before.Objects)
		}
	}
}

func object(n int) string { return fmt.Sprint("object-", n) }

// images lists those of the archives that the store has. All that were
// acknowledged must be there.
func (r round) images() []int {
	out := skiff(r.t, "image", "ls")
	var have []int
	for n := range plan.CutImages {
		if strings.Contains(out, plan.CutImage(n)) {
			have = append(have, n)
		} else if slices.Contains(r.before.Images, n) {
			r.t.Errorf("image %d was acknowledged and is lost:\n%s", n, out)
		}
	}
	return have
}

// pods runs a pod of each image, or finds it running again: it reads all of
// the image's own file and compares it.
func (r round) pods(images []int) {
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Minute)
	defer cancel()
	pods := r.client.CoreV1().Pods("default")
	for _, n := range images {
		check := []string{"sh", "-c", "sha256sum /data | grep " + r.before.Sums[n]}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("pod-", n)}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "main", Image: plan.CutImage(n), ImagePullPolicy: corev1.PullNever, Command: []string{"sleep", "1000000"},
			ReadinessProbe: &corev1.Probe{PeriodSeconds: 5, TimeoutSeconds: 60, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: check}}},
		}}}}
		// It may be there from an earlier round.
		if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil && !strings.Contains(err.Error(), "already exists") {
			r.t.Fatal(err)
		}
	}
	for _, n := range images {
		r.ready(ctx, fmt.Sprint("pod-", n))
	}
}

// ready waits until the pod is Ready in this boot.
func (r round) ready(ctx context.Context, name string) {
	r.t.Helper()
	pods := r.client.CoreV1().Pods("default")
	w, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		r.t.Fatal(err)
	}
	defer w.Stop()
	var last *corev1.Pod
	for e := range w.ResultChan() {
		pod, ok := e.Object.(*corev1.Pod)
		if !ok {
			break
		}
		last = pod
		if runs(pod) {
			r.note("%s runs", name)
			return
		}
	}
	text, _ := json.MarshalIndent(last, "", " ")
	r.t.Fatalf("%s is not Ready:\n%s\n%s", name, text, skiff(r.t, "kubectl", "get", "events"))
}

// runs tells a container of this boot from the status of the last one.
func runs(pod *corev1.Pod) bool {
	since := time.Now().Add(-uptime())
	for _, c := range pod.Status.ContainerStatuses {
		if !c.Ready || c.State.Running == nil || c.State.Running.StartedAt.Time.Before(since.Add(-time.Second)) {
			return false
		}
	}
	return len(pod.Status.ContainerStatuses) > 0
}

func uptime() time.Duration {
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0
	}
	seconds, _ := strconv.ParseFloat(strings.Fields(string(text))[0], 64)
	return time.Duration(seconds * float64(time.Second))
}

// note says what happened, at once and on a line of its own.
func (r round) note(format string, args ...any) {
	fmt.Printf(plan.CutMark+format+"\n", args...)
}

// write makes objects, one after another.
func (r round) write() {
	maps := r.client.CoreV1().ConfigMaps("default")
	for n := r.before.Objects; ; n++ {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: object(n)}, Data: map[string]string{"n": fmt.Sprint(n)}}
		// One that was not acknowledged may be there all the same.
		if _, err := maps.Create(context.Background(), m, metav1.CreateOptions{}); err != nil && !strings.Contains(err.Error(), "already exists") {
			r.note("creating %s: %v", object(n), err)
			return
		}
		r.note("object %d", n)
	}
}

// importAll imports what is missing.
func (r round) importAll(have []int) {
	for n := range plan.CutImages {
		if slices.Contains(have, n) {
			continue
		}
		r.note("importing %d", n)
		skiff(r.t, "image", "import", plan.CutArchive(n))
		r.note("image %d", n)
	}
}
