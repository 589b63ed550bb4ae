package endpoints

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func podAt(ip string, ready bool, ports ...corev1.ContainerPort) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: ip, Namespace: "ns", UID: types.UID(ip)},
		Spec:       corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c", Ports: ports}}},
	}
	if ip != "" {
		p.Status.PodIPs = []corev1.PodIP{{IP: ip}}
	}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return p
}

func show(subsets []corev1.EndpointSubset) string {
	text := ""
	for _, s := range subsets {
		for _, a := range s.Addresses {
			text += a.IP + " "
		}
		for _, a := range s.NotReadyAddresses {
			text += "(" + a.IP + ") "
		}
		for _, p := range s.Ports {
			text += fmt.Sprintf(":%d/%s ", p.Port, p.Name)
		}
		text += "; "
	}
	return text
}

func TestSubsets(t *testing.T) {
	tcp := func(name string, target intstr.IntOrString) corev1.ServicePort {
		return corev1.ServicePort{Name: name, Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: target}
	}
	named := func(n int32) corev1.ContainerPort {
		return corev1.ContainerPort{Name: "http", ContainerPort: n, Protocol: corev1.ProtocolTCP}
	}
	gone := podAt("10.0.0.9", true)
	gone.DeletionTimestamp = &metav1.Time{}
	ended := podAt("10.0.0.8", false)
	ended.Status.Phase = corev1.PodSucceeded
	cases := []struct {
		name    string
		service corev1.ServiceSpec
		pods    []*corev1.Pod
		want    string
	}{
		{"sorted, ready apart", corev1.ServiceSpec{Ports: []corev1.ServicePort{tcp("", intstr.FromInt32(8080))}},
			[]*corev1.Pod{podAt("10.0.0.2", true), podAt("10.0.0.3", false), podAt("10.0.0.1", true)}, "10.0.0.1 10.0.0.2 (10.0.0.3) :8080/ ; "},
		{"no address, deleted, ended", corev1.ServiceSpec{Ports: []corev1.ServicePort{tcp("", intstr.FromInt32(1))}},
			[]*corev1.Pod{podAt("", true), gone, ended}, ""},
		{"named ports differ", corev1.ServiceSpec{Ports: []corev1.ServicePort{tcp("web", intstr.FromString("http"))}},
			[]*corev1.Pod{podAt("10.0.0.1", true, named(8080)), podAt("10.0.0.2", true, named(9090)), podAt("10.0.0.3", true)},
			"10.0.0.1 :8080/web ; 10.0.0.2 :9090/web ; "},
		{"headless without ports", corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone}, []*corev1.Pod{podAt("10.0.0.1", true)}, "10.0.0.1 ; "},
		{"published though not ready", corev1.ServiceSpec{PublishNotReadyAddresses: true, Ports: []corev1.ServicePort{tcp("", intstr.FromInt32(1))}},
			[]*corev1.Pod{podAt("10.0.0.1", false)}, "10.0.0.1 :1/ ; "},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, _ := subsetsOf(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "ns"}, Spec: c.service}, c.pods)
			if show(got) != c.want {
				t.Errorf("got %q, want %q", show(got), c.want)
			}
		})
	}
}

func TestSubsetsAreBounded(t *testing.T) {
	service := &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(80)}}}}
	var pods []*corev1.Pod
	for i := range 1200 {
		pods = append(pods, podAt(fmt.Sprintf("10.0.%d.%d", i/250, i%250), i%2 == 0))
	}
	got, cut := subsetsOf(service, pods)
	if !cut || len(got[0].Addresses) != 600 || len(got[0].NotReadyAddresses) != 400 {
		t.Errorf("cut %t, %d ready, %d not", cut, len(got[0].Addresses), len(got[0].NotReadyAddresses))
	}
}
