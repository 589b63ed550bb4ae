package resource

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func newService(name string, change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"a": "b"}, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	for _, f := range change {
		f(s)
	}
	return s
}

func nodePort(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }

func TestServiceDefaults(t *testing.T) {
	s := startServer(t)
	got, err := s.CoreV1().Services("default").Create(context.Background(), newService("a", nodePort), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	spec := got.Spec
	if !netip.MustParsePrefix("10.43.0.0/16").Contains(netip.MustParseAddr(spec.ClusterIP)) || len(spec.ClusterIPs) != 1 || spec.ClusterIPs[0] != spec.ClusterIP {
		t.Errorf("clusterIPs %v, clusterIP %q", spec.ClusterIPs, spec.ClusterIP)
	}
	if spec.IPFamilies[0] != corev1.IPv4Protocol || *spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack {
		t.Errorf("families %v, policy %v", spec.IPFamilies, *spec.IPFamilyPolicy)
	}
	if p := spec.Ports[0]; p.NodePort < 30000 || p.NodePort > 32767 || p.Protocol != corev1.ProtocolTCP || p.TargetPort.IntValue() != 80 {
		t.Errorf("port %+v", p)
	}
	if *spec.InternalTrafficPolicy != corev1.ServiceInternalTrafficPolicyCluster || spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyCluster || spec.SessionAffinity != corev1.ServiceAffinityNone {
		t.Errorf("policies: %+v", spec)
	}
}

// TestServicesNeverShare creates services side by side in a range that just
// holds them, through two servers over one store.
func TestServicesNeverShare(t *testing.T) {
	etcd := startEtcd(t)
	small := func(d *Deps) {
		d.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.43.0.0/27")} // 30 addresses
		d.NodePorts = PortRange{First: 30000, Last: 30029}
	}
	servers := []*testServer{startServerOn(t, etcd, small), startServerOn(t, etcd, small)}
	ctx := context.Background()
	var wg sync.WaitGroup
	var mu sync.Mutex
	ips, ports, full := map[string]bool{}, map[int32]bool{}, 0
	for i := range 36 {
		wg.Go(func() {
			got, err := servers[i%2].CoreV1().Services("default").Create(ctx, newService(fmt.Sprintf("s%d", i), nodePort), metav1.CreateOptions{})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				if !strings.Contains(err.Error(), "range is full") {
					t.Error(err)
				}
				full++
				return
			}
			if ips[got.Spec.ClusterIP] || ports[got.Spec.Ports[0].NodePort] {
				t.Errorf("%s given twice", got.Spec.ClusterIP)
			}
			ips[got.Spec.ClusterIP], ports[got.Spec.Ports[0].NodePort] = true, true
		})
	}
	wg.Wait()
	if len(ips) != 30 || full != 6 {
		t.Errorf("%d services have addresses, %d were refused", len(ips), full)
	}
}

// TestServiceAddressesReturn: what a failed create or a deletion leaves is free
// again, and what is held stays held by a server that starts later.
func TestServiceAddressesReturn(t *testing.T) {
	etcd := startEtcd(t)
	s := startServerOn(t, etcd)
	ctx := context.Background()
	services := s.CoreV1().Services("default")
	want := func(svc *corev1.Service) {
		nodePort(svc)
		svc.Spec.ClusterIP = "10.43.7.7"
		svc.Spec.Ports[0].NodePort = 31000
	}
	bad := newService("bad", want)
	bad.Spec.Ports = append(bad.Spec.Ports, corev1.ServicePort{Name: "x", Port: 81})
	if _, err := services.Create(ctx, bad, metav1.CreateOptions{}); err == nil {
		t.Fatal("a port without a name was accepted")
	}
	if _, err := services.Create(ctx, newService("dry", want), metav1.CreateOptions{DryRun: []string{"All"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := services.Create(ctx, newService("a", want), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	later := startServerOn(t, etcd).CoreV1().Services("default")
	_, err := later.Create(ctx, newService("b", want), metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), `spec.clusterIPs: Invalid value: ["10.43.7.7"]: failed to allocate IP 10.43.7.7: provided IP is already allocated`) {
		t.Errorf("taking an address: %v", err)
	}
	_, err = later.Create(ctx, newService("b", nodePort, func(svc *corev1.Service) { svc.Spec.Ports[0].NodePort = 31000 }), metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "spec.ports[0].nodePort: Invalid value: 31000: provided port is already allocated") {
		t.Errorf("taking a port: %v", err)
	}
	if err := services.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b, err := later.Create(ctx, newService("b", want), metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("after the deletion: %v", err)
	}

	// An update of the manifest keeps what was allocated; ExternalName gives it back.
	manifest := newService("b", nodePort)
	manifest.ResourceVersion = b.ResourceVersion
	if b, err = services.Update(ctx, manifest, metav1.UpdateOptions{}); err != nil || b.Spec.ClusterIP != "10.43.7.7" || b.Spec.Ports[0].NodePort != 31000 {
		t.Fatalf("update: %v, %v", b.Spec, err)
	}
	moved := b.DeepCopy()
	moved.Spec.ClusterIP, moved.Spec.ClusterIPs = "10.43.7.8", []string{"10.43.7.8"}
	if _, err := services.Update(ctx, moved, metav1.UpdateOptions{}); err == nil || !strings.Contains(err.Error(), "spec.clusterIPs[0]: Invalid value: [\"10.43.7.8\"]: may not change once set") {
		t.Errorf("moving: %v", err)
	}
	cleared := b.DeepCopy() // by a client that clears the address itself
	cleared.Spec.Type, cleared.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.com"
	cleared.Spec.ClusterIP, cleared.Spec.ClusterIPs = "", nil
	if cleared, err = services.Update(ctx, cleared, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil || cleared.Spec.IPFamilies != nil {
		t.Errorf("to ExternalName without an address: %v, %v", cleared.Spec, err)
	}
	b.Spec.Type, b.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.com"
	if b, err = services.Update(ctx, b, metav1.UpdateOptions{}); err != nil || b.Spec.ClusterIP != "" || b.Spec.Ports[0].NodePort != 0 {
		t.Fatalf("to ExternalName: %+v, %v", b, err)
	}
	if _, err := services.Create(ctx, newService("c", want), metav1.CreateOptions{}); err != nil {
		t.Errorf("after ExternalName: %v", err)
	}
}

func TestHeadlessService(t *testing.T) {
	s := startServer(t)
	none := func(svc *corev1.Service) { svc.Spec.ClusterIP = "None" }
	got, err := s.CoreV1().Services("default").Create(context.Background(), newService("a", none), metav1.CreateOptions{})
	if err != nil || got.Spec.ClusterIPs[0] != "None" || len(got.Spec.IPFamilies) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	got, err = s.CoreV1().Services("default").Create(context.Background(), newService("b", none, func(svc *corev1.Service) { svc.Spec.Selector = nil }), metav1.CreateOptions{})
	if err != nil || len(got.Spec.IPFamilies) != 2 || *got.Spec.IPFamilyPolicy != corev1.IPFamilyPolicyRequireDualStack {
		t.Fatalf("%+v, %v", got, err)
	}
}
