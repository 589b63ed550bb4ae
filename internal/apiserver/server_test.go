package apiserver_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"

	"go.skiff.dev/skiff/internal/apiserver"
	"go.skiff.dev/skiff/internal/apiserver/apitest"
	"go.skiff.dev/skiff/internal/pki"
	"go.skiff.dev/skiff/internal/store"
)

// TestConsistentListDoesNotWait lists one kind while another is written: the
// list's cache is told at once that it is up to date.
func TestConsistentListDoesNotWait(t *testing.T) {
	s := apitest.Start(t)
	client := s.Client()
	var took []time.Duration
	for i := range 40 {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("s-%d", i)}}
		if _, err := client.CoreV1().Secrets("default").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := client.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("lists: fastest %s, median %s, slowest %s", took[0], took[20], took[39])
	// The library's own request for progress comes every 100 ms: a quarter of
	// those that wait for it wait 25 ms or less.
	if took[10] > 20*time.Millisecond {
		t.Errorf("the fastest quarter of the lists took up to %s", took[10])
	}
}

func TestListSeesWrites(t *testing.T) {
	s := apitest.Start(t)
	maps := s.Client().CoreV1().ConfigMaps("default")
	for i := range 50 {
		if _, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("m", i)}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		list, err := maps.List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != i+1 {
			t.Fatalf("after %d writes the list has %d", i+1, len(list.Items))
		}
	}
	page, err := maps.List(t.Context(), metav1.ListOptions{Limit: 20})
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Items) != 20 || page.Continue == "" || *page.RemainingItemCount != 30 {
		t.Errorf("the first page has %d items and %v more", len(page.Items), page.RemainingItemCount)
	}
}

func TestWatchEndsWithItsReader(t *testing.T) {
	s := apitest.Start(t)
	maps := s.Client().CoreV1().ConfigMaps("default")
	ctx, cancel := context.WithCancel(t.Context())
	w, err := maps.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	event := <-w.ResultChan()
	if event.Type != watch.Added || event.Object.(*corev1.ConfigMap).UID != made.UID {
		t.Errorf("got %v", event)
	}
	cancel()
	for range w.ResultChan() {
	}
}

func TestServerSideApply(t *testing.T) {
	s := apitest.Start(t)
	maps := s.Client().CoreV1().ConfigMaps("default")
	apply := applycorev1.ConfigMap("a", "default").WithData(map[string]string{"x": "1"})
	got, err := maps.Apply(t.Context(), apply, metav1.ApplyOptions{FieldManager: "one"})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.ManagedFields) != 1 || got.ManagedFields[0].Manager != "one" {
		t.Errorf("managed fields: %+v", got.ManagedFields)
	}
	apply.WithData(map[string]string{"x": "2"})
	_, err = maps.Apply(t.Context(), apply, metav1.ApplyOptions{FieldManager: "two"})
	if err == nil || !strings.Contains(err.Error(), `conflict with "one": .data.x`) {
		t.Errorf("no conflict: %v", err)
	}
	if _, err = maps.Patch(t.Context(), "a", types.MergePatchType, []byte(`{"data":{"y":"3"}}`), metav1.PatchOptions{DryRun: []string{"All"}}); err != nil {
		t.Error(err)
	}
	if got, err = maps.Get(t.Context(), "a", metav1.GetOptions{}); err != nil || got.Data["y"] != "" {
		t.Errorf("after a dry run: %v, %v", got.Data, err)
	}
}

// TestKubernetesServiceIsKept takes the Service's endpoints away and bends them.
func TestKubernetesServiceIsKept(t *testing.T) {
	s := apitest.Start(t)
	client := s.Client()
	service, err := client.CoreV1().Services("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if service.Spec.ClusterIP != "10.43.0.1" || service.Spec.Ports[0].Port != 443 {
		t.Errorf("got %+v", service.Spec)
	}
	slices := client.DiscoveryV1().EndpointSlices("default")
	w, err := slices.Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=kubernetes"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if err := slices.Delete(t.Context(), "kubernetes", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	deleted := false
	for event := range w.ResultChan() {
		deleted = deleted || event.Type == watch.Deleted
		if deleted && event.Type == watch.Added {
			break
		}
	}
	if err := s.API.SetNodeIP(netip.MustParseAddr("192.0.2.77")); err != nil {
		t.Fatal(err)
	}
	for event := range w.ResultChan() {
		slice, err := slices.Get(t.Context(), "kubernetes", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if slice.Endpoints[0].Addresses[0] == "192.0.2.77" {
			return
		}
		t.Logf("%s, still %v", event.Type, slice.Endpoints)
	}
}

func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	authority, err := pki.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	api, err := apiserver.New(t.Context(), apiserver.Options{
		Store: store.New(store.Options{}), Authority: authority, Bind: netip.MustParseAddr("127.0.0.1"), Port: port,
		NodeIP: netip.MustParseAddr(apitest.NodeIP), ServiceCIDR: netip.MustParsePrefix("10.43.0.0/16"),
	})
	if err != nil {
		t.Fatal(err)
	}
	err = api.Component().Run(t.Context(), func() { t.Error("ready") })
	want := fmt.Sprintf("listening on TCP port %d for the API server: the port is taken by", port)
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), fmt.Sprintf("(process %d)", os.Getpid())) {
		t.Errorf("got %v", err)
	}
}

func TestNewRefusesHalfOptions(t *testing.T) {
	if _, err := apiserver.New(t.Context(), apiserver.Options{}); err == nil {
		t.Error("no error")
	}
}
