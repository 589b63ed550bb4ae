package kubectl

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

// api is what programs use that are written against Kubernetes.
type api struct {
	config  *rest.Config
	typed   kubernetes.Interface
	dynamic dynamic.Interface
}

func newAPI(t *testing.T, c *cluster.Cluster) *api {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(c.Dir, "kubeconfig.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	protobuf := rest.CopyConfig(config)
	protobuf.ContentType = "application/vnd.kubernetes.protobuf"
	return &api{config: config, typed: kubernetes.NewForConfigOrDie(protobuf), dynamic: dynamic.NewForConfigOrDie(config)}
}

func TestAPI(t *testing.T) {
	c := cluster.Start(t)
	a := newAPI(t, c)
	t.Run("discovery finds every resource", a.discovery)
	t.Run("JSON, protobuf, YAML and tables", a.contentTypes)
	t.Run("lists come in chunks", a.chunks)
	t.Run("a watch resumes where it ended", a.resume)
	t.Run("selectors", a.selectors)
	t.Run("a dry run changes nothing", a.dryRun)
	t.Run("names are generated", a.generated)
	t.Run("finalizers hold back deletion", a.finalizers)
	t.Run("an object goes with its owner", a.owners)
	t.Run("two managers apply", a.managers)
	t.Run("too large an object is refused", a.tooLarge)
	t.Run("conflicts are told", a.conflicts)
}

func (a *api) discovery(t *testing.T) {
	lists, err := a.typed.Discovery().ServerPreferredResources()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, list := range lists {
		for _, r := range list.APIResources {
			found[list.GroupVersion+"/"+r.Name] = true
		}
	}
	for _, want := range []string{
		"v1/namespaces", "v1/nodes", "v1/pods", "v1/services", "v1/endpoints", "v1/configmaps", "v1/secrets", "v1/serviceaccounts", "v1/events",
		"events.k8s.io/v1/events", "discovery.k8s.io/v1/endpointslices", "coordination.k8s.io/v1/leases", "apps/v1/deployments", "apps/v1/replicasets",
	} {
		if !found[want] {
			t.Errorf("discovery does not know %s", want)
		}
	}
}

// raw asks for a path with an Accept header.
func (a *api) raw(t *testing.T, path, accept string) (*http.Response, []byte) {
	t.Helper()
	client, err := rest.HTTPClientFor(a.config)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest(http.MethodGet, a.config.Host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", accept)
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, body
}

func (a *api) contentTypes(t *testing.T) {
	const path = "/api/v1/namespaces/default/services"
	for accept, prefix := range map[string]string{
		"application/json":                                                 "{",
		"application/yaml":                                                 "apiVersion: v1",
		"application/vnd.kubernetes.protobuf":                              "k8s\x00",
		"application/json;as=Table;g=meta.k8s.io;v=v1":                     `{"kind":"Table"`,
		"application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1": `{"kind":"PartialObjectMetadataList"`,
	} {
		response, body := a.raw(t, path, accept)
		if response.StatusCode != 200 || !bytes.HasPrefix(body, []byte(prefix)) {
			t.Errorf("%s: %s, %.60q", accept, response.Status, body)
		}
	}
	if response, _ := a.raw(t, path, "text/html-never"); response.StatusCode != http.StatusNotAcceptable {
		t.Errorf("an unknown content type is answered %s", response.Status)
	}
	if response, body := a.raw(t, "/api/v1/nothing", "application/json"); response.StatusCode != 404 {
		t.Errorf("an unknown resource: %s, %s", response.Status, body)
	}
}

func configMap(name string, labels map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

func (a *api) chunks(t *testing.T) {
	ctx := t.Context()
	maps := a.typed.CoreV1().ConfigMaps("kube-public")
	for i := range 25 {
		if _, err := maps.Create(ctx, configMap(fmt.Sprintf("chunk-%02d", i), map[string]string{"chunk": "y"}), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	options := metav1.ListOptions{LabelSelector: "chunk=y", Limit: 10}
	pages, version := 0, ""
	for {
		page, err := maps.List(ctx, options)
		if err != nil {
			t.Fatal(err)
		}
		if version == "" {
			version = page.ResourceVersion
		} else if page.ResourceVersion != version {
			t.Errorf("the chunks are of versions %s and %s", version, page.ResourceVersion)
		}
		for _, m := range page.Items {
			names = append(names, m.Name)
		}
		if pages++; pages == 1 {
			// What changes between the chunks does not show in them.
			if err := maps.Delete(ctx, "chunk-20", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if options.Continue = page.Continue; options.Continue == "" {
			break
		}
	}
	if len(names) != 25 || pages != 3 {
		t.Errorf("%d names on %d pages: %v", len(names), pages, names)
	}
	if _, err := maps.List(ctx, metav1.ListOptions{Limit: 1, Continue: "garbage"}); !apierrors.IsBadRequest(err) {
		t.Errorf("a garbled continue token: %v", err)
	}
}

func (a *api) resume(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	maps := a.typed.CoreV1().ConfigMaps("default")
	list, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	first, err := maps.Create(ctx, configMap("w1", nil), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Create(ctx, configMap("w2", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	expect := func(version string, want ...string) {
		t.Helper()
		w, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		for _, name := range want {
			event := <-w.ResultChan()
			if m, ok := event.Object.(*corev1.ConfigMap); !ok || event.Type != watch.Added || m.Name != name {
				t.Errorf("from %s: %s %v, want %s", version, event.Type, event.Object, name)
			}
		}
	}
	expect(list.ResourceVersion, "w1", "w2")
	expect(first.ResourceVersion, "w2")
	w, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: "1"})
	if err == nil {
		event := <-w.ResultChan()
		w.Stop()
		if event.Type == watch.Error {
			err = apierrors.FromObject(event.Object)
		}
	}
	if err != nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		t.Errorf("watching from a version that may be compacted: %v", err)
	}
	// The typed client would try again for as long as the server says so.
	response, body := a.raw(t, "/api/v1/namespaces/default/configmaps?resourceVersion=999999999&resourceVersionMatch=NotOlderThan", "application/json")
	if response.StatusCode != http.StatusGatewayTimeout || !bytes.Contains(body, []byte("ResourceVersionTooLarge")) {
		t.Errorf("listing at a version of the future: %s, %s", response.Status, body)
	}
}

func (a *api) selectors(t *testing.T) {
	ctx := t.Context()
	maps := a.typed.CoreV1().ConfigMaps("default")
	for name, labels := range map[string]map[string]string{"s1": {"tier": "web"}, "s2": {"tier": "db", "old": ""}} {
		if _, err := maps.Create(ctx, configMap(name, labels), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for selector, want := range map[string]string{"tier in (web,db)": "s1 s2", "tier,!old": "s1", "tier!=web,tier": "s2", "tier notin (web),old": "s2"} {
		list, err := maps.List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, m := range list.Items {
			names = append(names, m.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s selects %q, want %q", selector, got, want)
		}
	}
	for _, kind := range []struct{ resource, selector string }{
		{"configmaps", "metadata.name=s1"}, {"pods", "spec.nodeName=x,status.phase!=Running"}, {"secrets", "type=Opaque"},
		{"events", "involvedObject.kind=Pod,type=Normal"}, {"namespaces", "status.phase=Active"}, {"nodes", "spec.unschedulable=false"},
	} {
		r := a.dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: kind.resource})
		if _, err := r.List(ctx, metav1.ListOptions{FieldSelector: kind.selector}); err != nil {
			t.Errorf("%s by %s: %v", kind.resource, kind.selector, err)
		}
	}
	if _, err := maps.List(ctx, metav1.ListOptions{FieldSelector: "data.a=b"}); !apierrors.IsBadRequest(err) {
		t.Errorf("selecting by a field that is no selector: %v", err)
	}
}

func (a *api) dryRun(t *testing.T) {
	ctx := t.Context()
	maps := a.typed.CoreV1().ConfigMaps("default")
	all := []string{metav1.DryRunAll}
	made, err := maps.Create(ctx, configMap("dry", nil), metav1.CreateOptions{DryRun: all})
	if err != nil || made.UID == "" {
		t.Errorf("%v, %v", made, err)
	}
	if _, err := maps.Get(ctx, "dry", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a dry run made it: %v", err)
	}
	if err := maps.Delete(ctx, "kube-root-ca.crt", metav1.DeleteOptions{DryRun: all}); err != nil {
		t.Error(err)
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "dry"}, Spec: corev1.ServiceSpec{Type: "NodePort", ClusterIP: "", Ports: []corev1.ServicePort{{Port: 80}}}}
	for range 2 {
		if _, err := a.typed.CoreV1().Services("default").Create(ctx, service, metav1.CreateOptions{DryRun: all}); err != nil {
			t.Error(err)
		}
	}
}

func (a *api) generated(t *testing.T) {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "made-"}}
	seen := map[string]bool{}
	for range 5 {
		made, err := a.typed.CoreV1().ConfigMaps("default").Create(t.Context(), m, metav1.CreateOptions{})
		if err != nil || len(made.Name) != len("made-")+5 || seen[made.Name] {
			t.Errorf("%v, %v", made.Name, err)
		}
		seen[made.Name] = true
	}
}

func (a *api) finalizers(t *testing.T) {
	ctx := t.Context()
	maps := a.typed.CoreV1().ConfigMaps("default")
	m := configMap("final", nil)
	m.Finalizers = []string{"example.com/hold"}
	if _, err := maps.Create(ctx, m, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(ctx, "final", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	held, err := maps.Get(ctx, "final", metav1.GetOptions{})
	if err != nil || held.DeletionTimestamp == nil {
		t.Fatalf("%v, %v", held, err)
	}
	held.Finalizers = append(held.Finalizers, "example.com/late")
	if _, err := maps.Update(ctx, held, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("adding a finalizer to what is being deleted: %v", err)
	}
	if _, err := maps.Patch(ctx, "final", types.JSONPatchType, []byte(`[{"op":"remove","path":"/metadata/finalizers"}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Get(ctx, "final", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after its last finalizer it stays: %v", err)
	}
}

func (a *api) owners(t *testing.T) {
	ctx := t.Context()
	maps := a.typed.CoreV1().ConfigMaps("default")
	owner, err := maps.Create(ctx, configMap("owner", nil), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	owned := configMap("owned", nil)
	owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: owner.UID}}
	if _, err := maps.Create(ctx, owned, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(ctx, "owner", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	cluster.Until(t, func() error {
		if _, err := maps.Get(ctx, "owned", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("what the deleted object owned: %w", err)
		}
		return nil
	})
}

func (a *api) managers(t *testing.T) {
	ctx := t.Context()
	deployments := a.dynamic.Resource(appsv1.SchemeGroupVersion.WithResource("deployments")).Namespace("default")
	apply := func(manager string, spec map[string]any, force bool) (*unstructured.Unstructured, error) {
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "applied"}, "spec": spec}}
		return deployments.Apply(ctx, "applied", u, metav1.ApplyOptions{FieldManager: manager, Force: force})
	}
	labels := map[string]any{"app": "applied"}
	container := map[string]any{"name": "main", "image": "skiff.dev/hello:1"}
	one := map[string]any{
		"replicas": int64(0), "selector": map[string]any{"matchLabels": labels},
		"template": map[string]any{"metadata": map[string]any{"labels": labels}, "spec": map[string]any{"containers": []any{container}}},
	}
	if _, err := apply("one", one, false); err != nil {
		t.Fatal(err)
	}
	if _, err := apply("two", map[string]any{"replicas": int64(3)}, false); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), ".spec.replicas") {
		t.Errorf("taking another manager's field: %v", err)
	}
	sidecar := map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "side", "image": "skiff.dev/hello:1"}}}}}
	if _, err := apply("two", sidecar, false); err != nil {
		t.Fatal(err)
	}
	both, err := apply("one", one, false)
	if err != nil {
		t.Fatal(err)
	}
	if list, _, _ := unstructured.NestedSlice(both.Object, "spec", "template", "spec", "containers"); len(list) != 2 {
		t.Errorf("with two managers the containers are %v", list)
	}
	if _, err := apply("two", map[string]any{"replicas": int64(0)}, true); err != nil {
		t.Error(err)
	}
	// What a manager leaves out and nobody else owns goes away.
	alone, err := apply("one", one, false)
	if err != nil {
		t.Fatal(err)
	}
	if list, _, _ := unstructured.NestedSlice(alone.Object, "spec", "template", "spec", "containers"); len(list) != 1 {
		t.Errorf("after the second manager gave its container up: %v", list)
	}
}

func (a *api) tooLarge(t *testing.T) {
	maps := a.typed.CoreV1().ConfigMaps("default")
	m := configMap("large", nil)
	m.Data = map[string]string{"a": strings.Repeat("x", 1<<20+1)}
	if _, err := maps.Create(t.Context(), m, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("a ConfigMap of more than 1 MiB: %v", err)
	}
	m.Data["a"] = strings.Repeat("x", 4<<20)
	if _, err := maps.Create(t.Context(), m, metav1.CreateOptions{}); !apierrors.IsRequestEntityTooLargeError(err) && !apierrors.IsInvalid(err) {
		t.Errorf("a request of 4 MiB: %v", err)
	}
	m.Data["a"] = strings.Repeat("x", 1<<20-1)
	if _, err := maps.Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
		t.Errorf("a ConfigMap of a byte less than 1 MiB: %v", err)
	}
}

func (a *api) conflicts(t *testing.T) {
	ctx := t.Context()
	maps := a.typed.CoreV1().ConfigMaps("default")
	made, err := maps.Create(ctx, configMap("conflict", nil), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	later := made.DeepCopy()
	later.Data = map[string]string{"a": "b"}
	if _, err := maps.Update(ctx, later, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Update(ctx, later, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("an update of an old version: %v", err)
	}
	wrong := types.UID("other")
	if err := maps.Delete(ctx, "conflict", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &wrong}}); !apierrors.IsConflict(err) {
		t.Errorf("deleting with another UID: %v", err)
	}
	if _, err := maps.Create(ctx, configMap("conflict", nil), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("creating it twice: %v", err)
	}
	strict := a.typed.CoreV1().RESTClient().Post().Namespace("default").Resource("configmaps").Param("fieldValidation", "Strict").
		SetHeader("Content-Type", "application/json").Body(mustJSON(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "strict"}, "dada": 1}))
	if err := strict.Do(ctx).Error(); !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), `unknown field "dada"`) {
		t.Errorf("an unknown field: %v", err)
	}
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of strings
	}
	return data
}
