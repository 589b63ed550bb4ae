package replicaset

import (
	"errors"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var now = time.Unix(1_000_000, 0)

// pod builds a pod; with ready it is assigned, running and ready for so long.
func pod(name string, ready time.Duration, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(now.Add(-ready - time.Second))}}
	if ready > 0 {
		p.Spec.NodeName, p.Status.Phase = "n", corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-ready))}}
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func TestVictims(t *testing.T) {
	pending := func(p *corev1.Pod) { p.Spec.NodeName, p.Status.Phase = "n", corev1.PodPending }
	unready := func(p *corev1.Pod) { p.Status.Conditions = nil }
	cost := func(c string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: c} }
	}
	restarted := func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 3}} }
	cases := []struct {
		name  string
		pods  []*corev1.Pod
		ranks []int
		want  string
	}{
		{"unassigned before assigned", []*corev1.Pod{pod("a", 0, pending), pod("b", 0)}, nil, "b"},
		{"pending before running", []*corev1.Pod{pod("a", time.Hour), pod("b", 0, pending)}, nil, "b"},
		{"unready before ready", []*corev1.Pod{pod("a", time.Hour), pod("b", time.Hour, unready)}, nil, "b"},
		{"lower cost first", []*corev1.Pod{pod("a", time.Hour, cost("10")), pod("b", time.Hour, cost("-5"))}, nil, "b"},
		{"unready before cost", []*corev1.Pod{pod("a", time.Hour, cost("-10")), pod("b", time.Hour, unready)}, nil, "b"},
		{"crowded node first", []*corev1.Pod{pod("a", time.Hour), pod("b", time.Hour)}, []int{1, 3}, "b"},
		{"shorter ready first", []*corev1.Pod{pod("a", time.Hour), pod("b", time.Second)}, nil, "b"},
		{"alike ages by uid", []*corev1.Pod{pod("b", 60*time.Minute), pod("a", 61*time.Minute)}, nil, "a"},
		{"more restarts first", []*corev1.Pod{pod("a", time.Hour), pod("b", time.Hour, restarted)}, nil, "b"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := victims(c.pods, c.ranks, 1, now)
			if len(got) != 1 || got[0].Name != c.want {
				t.Errorf("victim %v, want %s", got[0].Name, c.want)
			}
		})
	}
}

func TestPlanReplicas(t *testing.T) {
	for _, c := range []struct{ want, have, create, delete int }{
		{3, 0, 3, 0}, {3, 3, 0, 0}, {3, 5, 0, 2}, {0, 2, 0, 2}, {1000, 0, 500, 0}, {0, 1000, 0, 500},
	} {
		replicas := int32(c.want)
		set := &appsv1.ReplicaSet{Spec: appsv1.ReplicaSetSpec{Replicas: &replicas}}
		var active []*corev1.Pod
		for i := range c.have {
			active = append(active, pod(fmt.Sprint(i), time.Hour))
		}
		p := planReplicas(set, active, nil, now)
		if p.create != c.create || len(p.delete) != c.delete {
			t.Errorf("%d wanted, %d there: create %d, delete %d", c.want, c.have, p.create, len(p.delete))
		}
	}
}

func TestStatus(t *testing.T) {
	set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Generation: 7}, Spec: appsv1.ReplicaSetSpec{MinReadySeconds: 10}}
	o := observation{active: []*corev1.Pod{pod("old", time.Minute), pod("young", 4*time.Second), pod("new", 0)}, terminating: 2}
	s, wait := statusOf(set, o, plan{}, nil, now)
	if s.Replicas != 3 || s.ReadyReplicas != 2 || s.AvailableReplicas != 1 || *s.TerminatingReplicas != 2 || s.ObservedGeneration != 7 {
		t.Errorf("status %+v", s)
	}
	if wait != 6*time.Second {
		t.Errorf("looks again in %s, want 6s", wait)
	}
	s, _ = statusOf(set, o, plan{create: 1}, errors.New("quota"), now)
	if len(s.Conditions) != 1 || s.Conditions[0].Reason != "FailedCreate" || s.Conditions[0].Message != "quota" {
		t.Errorf("conditions %+v", s.Conditions)
	}
	set.Status = s
	if s, _ = statusOf(set, o, plan{}, nil, now); len(s.Conditions) != 0 {
		t.Errorf("conditions %+v after the failure is over", s.Conditions)
	}
}

func TestNamesStayLabels(t *testing.T) {
	set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: string(make([]byte, 0)) + "web-" + fmt.Sprintf("%080d", 1)}}
	if p := podFor(set); len(p.Name) != 63 || p.GenerateName != set.Name+"-" {
		t.Errorf("name %q of %d, generateName %q", p.Name, len(p.Name), p.GenerateName)
	}
}
