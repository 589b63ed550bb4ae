package apitest

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestStart(t *testing.T) {
	began := time.Now()
	s := Start(t)
	t.Logf("ready after %s", time.Since(began))
	maps := s.Client().CoreV1().ConfigMaps("default")
	for range 3 {
		began = time.Now()
		made, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "a-"}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("created %s after %s", made.Name, time.Since(began))
		began = time.Now()
		list, err := maps.List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("listed %d after %s", len(list.Items), time.Since(began))
	}
}
