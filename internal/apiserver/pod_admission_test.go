package apiserver_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"go.skiff.dev/skiff/internal/apiserver/apitest"
)

func TestPodGetsItsAccount(t *testing.T) {
	s := apitest.Start(t)
	client := s.Client()
	ns := s.Namespace(t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "puller"},
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}}}
	if _, err := client.CoreV1().ServiceAccounts(ns).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := newPod("p")
	pod.Spec.ServiceAccountName = "puller"
	pod, err := client.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(pod.Spec.ImagePullSecrets) != 1 || pod.Spec.ImagePullSecrets[0].Name != "registry" {
		t.Errorf("pull secrets: %v", pod.Spec.ImagePullSecrets)
	}
	mounts := pod.Spec.Containers[0].VolumeMounts
	if len(mounts) != 1 || mounts[0].MountPath != "/var/run/secrets/kubernetes.io/serviceaccount" || !mounts[0].ReadOnly {
		t.Fatalf("mounts: %+v", mounts)
	}
	volume := pod.Spec.Volumes[0]
	if volume.Name != mounts[0].Name || !strings.HasPrefix(volume.Name, "kube-api-access-") || len(volume.Projected.Sources) != 3 {
		t.Errorf("volume: %+v", volume)
	}
	if *pod.Spec.Priority != 0 || *pod.Spec.PreemptionPolicy != corev1.PreemptLowerPriority || len(pod.Spec.Tolerations) != 2 {
		t.Errorf("priority %v, tolerations %v", pod.Spec.Priority, pod.Spec.Tolerations)
	}

	quiet := newPod("quiet")
	quiet.Spec.AutomountServiceAccountToken = new(bool)
	quiet, err = client.CoreV1().Pods(ns).Create(t.Context(), quiet, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(quiet.Spec.Volumes) != 0 {
		t.Errorf("a pod that wants no token got %v", quiet.Spec.Volumes)
	}
}

func TestPodWithoutAccount(t *testing.T) {
	s := apitest.Start(t)
	pod := newPod("p")
	pod.Spec.ServiceAccountName = "nobody"
	_, err := s.Client().CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
	want := `pods "p" is forbidden: error looking up service account default/nobody: serviceaccounts "nobody" not found`
	if !apierrors.IsForbidden(err) || strings.ReplaceAll(err.Error(), "serviceaccount \"", "serviceaccounts \"") != want {
		t.Errorf("got %v", err)
	}
	_, err = s.Client().CoreV1().Pods("nowhere").Create(t.Context(), newPod("p"), metav1.CreateOptions{})
	if !apierrors.IsNotFound(err) || err.Error() != `namespaces "nowhere" not found` {
		t.Errorf("got %v", err)
	}
	if err := s.Client().CoreV1().Namespaces().Delete(t.Context(), "default", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("deleting the namespace default: %v", err)
	}
}

// TestPodWaitsForItsAccount creates a pod in a namespace whose account is made
// a little later, as it is when a manifest holds both.
func TestPodWaitsForItsAccount(t *testing.T) {
	s := apitest.Start(t)
	client := s.Client()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "fresh"}}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	created := make(chan error, 1)
	go func() {
		_, err := client.CoreV1().Pods("fresh").Create(t.Context(), newPod("p"), metav1.CreateOptions{})
		created <- err
	}()
	select {
	case err := <-created:
		t.Fatalf("the pod did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := client.CoreV1().ServiceAccounts("fresh").Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-created; err != nil {
		t.Error(err)
	}
}
