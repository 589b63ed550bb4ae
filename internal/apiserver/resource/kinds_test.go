package resource

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"

	"go.skiff.dev/skiff/internal/apiserver/resource/serviceaccount"
)

func newDeployment(name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: newPod("").Spec},
		},
	}
}

func TestDeployment(t *testing.T) {
	s := startServer(t)
	ctx := context.Background()
	deployments := s.AppsV1().Deployments("default")
	d, err := deployments.Create(ctx, newDeployment("a"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if *d.Spec.Replicas != 1 || d.Generation != 1 || d.Spec.Strategy.RollingUpdate.MaxSurge.String() != "25%" || *d.Spec.RevisionHistoryLimit != 10 || *d.Spec.ProgressDeadlineSeconds != 600 || d.Spec.Template.Spec.DNSPolicy != corev1.DNSClusterFirst {
		t.Errorf("defaults: %+v", d.Spec)
	}
	scale, err := deployments.GetScale(ctx, "a", metav1.GetOptions{})
	if err != nil || scale.Spec.Replicas != 1 || scale.Status.Selector != "app=a" {
		t.Fatalf("scale: %+v, %v", scale, err)
	}
	scale.Spec.Replicas = 3
	if scale, err = deployments.UpdateScale(ctx, "a", scale, metav1.UpdateOptions{}); err != nil || scale.Spec.Replicas != 3 {
		t.Fatalf("scaled: %+v, %v", scale, err)
	}
	if _, err := deployments.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"replicas":4}}`), metav1.PatchOptions{}, "scale"); err != nil {
		t.Errorf("patching the scale: %v", err)
	}
	stale := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "default", ResourceVersion: scale.ResourceVersion}}
	if _, err := deployments.UpdateScale(ctx, "a", stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("a stale scale: %v", err)
	}
	scale.ResourceVersion, scale.Spec.Replicas = "", -1
	if _, err := deployments.UpdateScale(ctx, "a", scale, metav1.UpdateOptions{}); err == nil || !strings.Contains(err.Error(), "spec.replicas: Invalid value: -1: must be greater than or equal to 0") {
		t.Errorf("scaled below nothing: %v", err)
	}
	d, _ = deployments.Get(ctx, "a", metav1.GetOptions{})
	if d.Generation != 3 || *d.Spec.Replicas != 4 {
		t.Errorf("generation %d, replicas %d", d.Generation, *d.Spec.Replicas)
	}
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: 3, Replicas: 4, ReadyReplicas: 2, UpdatedReplicas: 4, AvailableReplicas: 2}
	d.Spec.Replicas = nil
	if d, err = deployments.UpdateStatus(ctx, d, metav1.UpdateOptions{}); err != nil || *d.Spec.Replicas != 4 || d.Status.ReadyReplicas != 2 {
		t.Errorf("status: %+v, %v", d, err)
	}
	columns, rows := s.cells(t, "/apis/apps/v1/namespaces/default/deployments")
	if want := []string{"Name", "Ready", "Up-to-date", "Available", "Age", "Containers", "Images", "Selector"}; !slices.Equal(columns, want) {
		t.Errorf("columns %v", columns)
	}
	rows[0][4] = "-"
	if got := fmt.Sprint(rows[0]); got != "[a 2/4 4 2 - c nginx:1 app=a]" {
		t.Errorf("row %s", got)
	}
	d.Spec.Selector.MatchLabels["app"] = "b"
	if _, err := deployments.Update(ctx, d, metav1.UpdateOptions{}); err == nil || !strings.Contains(err.Error(), "field is immutable") || !strings.Contains(err.Error(), "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`") {
		t.Errorf("another selector: %v", err)
	}
}

// TestScaleOwner: who scales owns spec.replicas, and who applies the manifest
// with another number is told of the conflict.
func TestScaleOwner(t *testing.T) {
	s := startServer(t)
	ctx := context.Background()
	deployments := s.AppsV1().Deployments("default")
	manifest := applyappsv1.Deployment("a", "default").WithSpec(applyappsv1.DeploymentSpec().WithReplicas(1).
		WithSelector(applymetav1.LabelSelector().WithMatchLabels(map[string]string{"a": "b"})).
		WithTemplate(applycorev1.PodTemplateSpec().WithLabels(map[string]string{"a": "b"}).
			WithSpec(applycorev1.PodSpec().WithContainers(applycorev1.Container().WithName("c").WithImage("i")))))
	if _, err := deployments.Apply(ctx, manifest, metav1.ApplyOptions{FieldManager: "manifest"}); err != nil {
		t.Fatal(err)
	}
	if _, err := deployments.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"replicas":4}}`), metav1.PatchOptions{FieldManager: "scaler"}, "scale"); err != nil {
		t.Fatal(err)
	}
	_, err := deployments.Apply(ctx, manifest, metav1.ApplyOptions{FieldManager: "manifest"})
	if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "scaler" with subresource "scale" using apps/v1: .spec.replicas`) {
		t.Errorf("%v", err)
	}
}

func TestNamespace(t *testing.T) {
	s := startServer(t)
	ctx := context.Background()
	namespaces := s.CoreV1().Namespaces()
	ns, err := namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "a-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if ns.Status.Phase != corev1.NamespaceActive || ns.Labels["kubernetes.io/metadata.name"] != ns.Name || ns.Spec.Finalizers[0] != corev1.FinalizerKubernetes {
		t.Errorf("%+v", ns)
	}
	if err := namespaces.Delete(ctx, ns.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if ns, err = namespaces.Get(ctx, ns.Name, metav1.GetOptions{}); err != nil || ns.Status.Phase != corev1.NamespaceTerminating || ns.DeletionTimestamp == nil {
		t.Fatalf("%+v, %v", ns, err)
	}
	ns.Spec.Finalizers = nil
	if ns, err = namespaces.Finalize(ctx, ns, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := namespaces.Delete(ctx, ns.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	if _, err = namespaces.Get(ctx, ns.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("still there: %v", err)
	}
	if _, err := namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "A.b"}}, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("a bad name: %v", err)
	}
}

// TestEventsOfBothGroups: an event is one object with two faces.
func TestEventsOfBothGroups(t *testing.T) {
	s := startServer(t)
	ctx := context.Background()
	now := metav1.Now()
	_, err := s.CoreV1().Events("default").Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: "a"},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "p"},
		Reason:         "Started", Message: "Started container\n", Type: "Normal", Count: 2, FirstTimestamp: now, LastTimestamp: now,
		Source: corev1.EventSource{Component: "kubelet", Host: "n"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.EventsV1().Events("default").Get(ctx, "a", metav1.GetOptions{})
	if err != nil || e.Note != "Started container\n" || e.Regarding.Name != "p" || e.DeprecatedCount != 2 {
		t.Errorf("%+v, %v", e, err)
	}
	_, err = s.EventsV1().Events("default").Create(ctx, &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "b"}, EventTime: metav1.NowMicro(), ReportingController: "skiff.dev/x", ReportingInstance: "n",
		Action: "Bind", Reason: "Scheduled", Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "q"}, Note: "to n", Type: "Normal",
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := s.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=q,reason=Scheduled"}); err != nil || len(list.Items) != 1 || list.Items[0].Message != "to n" {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err := s.EventsV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "regarding.name=q"}); err != nil || len(list.Items) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := s.EventsV1().Events("default").Patch(ctx, "b", types.StrategicMergePatchType, []byte(`{"series":{"count":2,"lastObservedTime":"2026-01-01T00:00:00.000000Z"}}`), metav1.PatchOptions{}); err != nil {
		t.Errorf("a series: %v", err)
	}
	_, err = s.EventsV1().Events("default").Create(ctx, &eventsv1.Event{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Regarding: corev1.ObjectReference{Namespace: "default"}}, metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "eventTime: Required value") {
		t.Errorf("no time: %v", err)
	}
	columns, rows := s.cells(t, "/api/v1/namespaces/default/events?fieldSelector=reason%3DStarted")
	if !slices.Equal(columns, []string{"Last Seen", "Type", "Reason", "Object", "Subobject", "Source", "Message", "First Seen", "Count", "Name"}) {
		t.Errorf("columns %v", columns)
	}
	if got := fmt.Sprint(rows[0][1:7]); got != "[Normal Started pod/p  kubelet, n Started container]" {
		t.Errorf("row %s", got)
	}
}

type issuer struct{ asked serviceaccount.TokenRequest }

func (i *issuer) Issue(_ context.Context, req serviceaccount.TokenRequest) (string, []string, time.Time, error) {
	i.asked = req
	return "token", []string{"a"}, time.Now().Add(req.Lifetime), nil
}

func TestServiceAccountToken(t *testing.T) {
	signs := &issuer{}
	s := startServer(t, func(d *Deps) { d.TokenIssuer = signs })
	ctx := context.Background()
	accounts := s.CoreV1().ServiceAccounts("default")
	if _, err := accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod, err := s.CoreV1().Pods("default").Create(ctx, newPod("p", func(p *corev1.Pod) { p.Spec.ServiceAccountName = "a" }), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ref := &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "p", UID: pod.UID}
	got, err := accounts.CreateToken(ctx, "a", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: ref}}, metav1.CreateOptions{})
	if err != nil || got.Status.Token != "token" || signs.asked.Pod.UID != pod.UID || signs.asked.Lifetime != time.Hour {
		t.Errorf("%+v, %v", got, err)
	}
	ref.UID = "x"
	if _, err := accounts.CreateToken(ctx, "a", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: ref}}, metav1.CreateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("another pod: %v", err)
	}
	second := int64(1)
	_, err = accounts.CreateToken(ctx, "a", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &second}}, metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "spec.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes") {
		t.Errorf("for a second: %v", err)
	}
}

func TestSecretAndConfigMap(t *testing.T) {
	s := startServer(t)
	ctx := context.Background()
	secrets, yes := s.CoreV1().Secrets("default"), true
	secret, err := secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "a"}, StringData: map[string]string{"k": "v"}, Immutable: &yes}, metav1.CreateOptions{})
	if err != nil || secret.Type != corev1.SecretTypeOpaque || string(secret.Data["k"]) != "v" || secret.StringData != nil {
		t.Fatalf("%+v, %v", secret, err)
	}
	secret.Data["k"], secret.Type = []byte("w"), "other"
	_, err = secrets.Update(ctx, secret, metav1.UpdateOptions{})
	for _, want := range []string{`type: Invalid value: "other": field is immutable`, "data: Forbidden: field is immutable when `immutable` is set"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	_, err = secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "b"}, Type: corev1.SecretTypeTLS, Data: map[string][]byte{"a/b": nil}}, metav1.CreateOptions{})
	for _, want := range []string{"data[tls.crt]: Required value", "data[tls.key]: Required value", "data[a/b]: Invalid value"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	_, err = s.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string]string{"k": strings.Repeat("x", 1<<20+1)}}, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "Too long: may not be more than 1048576 bytes") {
		t.Errorf("too much: %v", err)
	}
}

func TestOtherKinds(t *testing.T) {
	s := startServer(t)
	ctx := context.Background()
	holder, minus := "me", int32(-1)
	_, err := s.CoordinationV1().Leases("default").Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder}}, metav1.CreateOptions{})
	if err != nil {
		t.Error(err)
	}
	_, err = s.CoordinationV1().Leases("default").Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "b"}, Spec: coordinationv1.LeaseSpec{LeaseDurationSeconds: &minus}}, metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "spec.leaseDurationSeconds: Invalid value: -1: must be greater than 0") {
		t.Error(err)
	}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "a"}, AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.1.2.3"}}}, Ports: []discoveryv1.EndpointPort{{}}}
	got, err := s.DiscoveryV1().EndpointSlices("default").Create(ctx, slice, metav1.CreateOptions{})
	if err != nil || got.Generation != 1 || *got.Ports[0].Protocol != corev1.ProtocolTCP || *got.Ports[0].Name != "" {
		t.Errorf("%+v, %v", got, err)
	}
	got.Endpoints[0].Addresses[0] = "127.0.0.1"
	if _, err = s.DiscoveryV1().EndpointSlices("default").Update(ctx, got, metav1.UpdateOptions{}); err == nil || !strings.Contains(err.Error(), "endpoints[0].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range") {
		t.Error(err)
	}
	ep := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Subsets: []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "10.1.2.3"}}, Ports: []corev1.EndpointPort{{Port: 80}}}}}
	if _, err := s.CoreV1().Endpoints("default").Create(ctx, ep, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	if _, rows := s.cells(t, "/api/v1/namespaces/default/endpoints"); rows[0][1] != "10.1.2.3:80" {
		t.Error(rows)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"node-role.kubernetes.io/control-plane": ""}},
		Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "v1"}, Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}}
	if _, err := s.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	if _, rows := s.cells(t, "/api/v1/nodes"); fmt.Sprint(rows[0][:3]) != "[n Ready control-plane]" || rows[0][4] != "v1" {
		t.Error(rows)
	}
	if _, err := s.CoreV1().Nodes().Patch(ctx, "n", types.StrategicMergePatchType, []byte(`{"spec":{"taints":[{"key":"a","effect":"Never"}]}}`), metav1.PatchOptions{}); err == nil || !strings.Contains(err.Error(), `spec.taints[0].effect: Unsupported value: "Never": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"`) {
		t.Error(err)
	}
}

// TestFinalizersHaveADomain: a name that anyone could have chosen is refused.
func TestFinalizersHaveADomain(t *testing.T) {
	s := startServer(t)
	ctx := context.Background()
	maps := s.CoreV1().ConfigMaps("default")
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Finalizers: []string{"wait"}}}
	const want = `metadata.finalizers[0]: Invalid value: "wait": name is neither a standard finalizer name nor is it fully qualified`
	if _, err := maps.Create(ctx, cm, metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("created: %v", err)
	}
	cm.Finalizers = []string{"example.com/wait", metav1.FinalizerOrphanDependents}
	if _, err := maps.Create(ctx, cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Patch(ctx, "a", types.MergePatchType, []byte(`{"metadata":{"finalizers":["wait"]}}`), metav1.PatchOptions{}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("updated: %v", err)
	}
	if _, err := maps.Patch(ctx, "a", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Errorf("taken away: %v", err)
	}
}

// TestLeasesHaveNoCandidates: coordinated leader election is not served, so a
// lease that asks for it is an ordinary one.
func TestLeasesHaveNoCandidates(t *testing.T) {
	s := startServer(t)
	who, how := "x", coordinationv1.OldestEmulationVersion
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: coordinationv1.LeaseSpec{PreferredHolder: &who, Strategy: &how}}
	got, err := s.CoordinationV1().Leases("default").Create(context.Background(), lease, metav1.CreateOptions{})
	if err != nil || got.Spec.PreferredHolder != nil || got.Spec.Strategy != nil {
		t.Errorf("%+v, %v", got.Spec, err)
	}
}

// TestEndpointSliceFields: hints for nodes are looked at, what only v1beta1 had
// is dropped.
func TestEndpointSliceFields(t *testing.T) {
	s := startServer(t)
	slices := s.DiscoveryV1().EndpointSlices("default")
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "a"},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{"10.0.0.1"}, DeprecatedTopology: map[string]string{"a": "b"},
			Hints: &discoveryv1.EndpointHints{ForNodes: []discoveryv1.ForNode{{Name: "n"}, {Name: "n"}}},
		}},
	}
	_, err := slices.Create(context.Background(), slice, metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), `endpoints[0].hints.forNodes[1].name: Duplicate value: "n"`) {
		t.Errorf("one node twice: %v", err)
	}
	slice.Endpoints[0].Hints = nil
	got, err := slices.Create(context.Background(), slice, metav1.CreateOptions{})
	if err != nil || got.Endpoints[0].DeprecatedTopology != nil {
		t.Errorf("%+v, %v", got, err)
	}
}
