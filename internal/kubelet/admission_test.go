package kubelet

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

// table is an admission for a node of four processors, and who it woke.
type table struct {
	*admission
	node  *v1.Node
	woken []types.UID
}

func newTable() *table {
	t := &table{node: &v1.Node{Status: v1.NodeStatus{Allocatable: v1.ResourceList{
		v1.ResourceCPU: resource.MustParse("4"), v1.ResourceMemory: resource.MustParse("4Gi"), v1.ResourcePods: resource.MustParse("110"),
	}}}}
	t.admission = newAdmission(func() *v1.Node { return t.node }, func(uid types.UID) { t.woken = append(t.woken, uid) })
	return t
}

func podAsking(name, cpu, memory string) *v1.Pod {
	pod := podOfNames(v1.RestartPolicyAlways, "a")
	pod.Name, pod.UID = name, types.UID(name)
	pod.Spec.Containers[0].Resources.Requests = amount(cpu, memory)
	return pod
}

// asks asks for a pod and gives the answer in one word.
func (t *table) asks(pod *v1.Pod, cpu, memory string, since time.Time) string {
	wanted := *podAsking(pod.Name, cpu, memory)
	wanted.Spec.Priority, wanted.Status.QOSClass = pod.Spec.Priority, pod.Status.QOSClass
	return word(t.ask(pod, &wanted, since))
}

func word(a answer) string {
	if a.Given {
		return "Given"
	}
	return a.Reason
}

func TestResizeIsWeighed(t *testing.T) {
	a := newTable()
	a.allKnown()
	one, two := podAsking("one", "1", "1Gi"), podAsking("two", "2", "1Gi")
	for _, p := range []*v1.Pod{one, two} {
		if r := a.check(p, a.node); r != nil {
			t.Fatal(r)
		}
	}
	if got := a.asks(one, "2", "1Gi", epoch); got != "Given" {
		t.Errorf("with room: %s", got)
	}
	one = podAsking("one", "2", "1Gi")
	if r := a.check(podAsking("three", "100m", "1Gi"), a.node); r == nil || r.Reason != "OutOfcpu" {
		t.Errorf("a new pod takes what was given away: %v", r)
	}
	if got := a.asks(one, "2500m", "1Gi", epoch); got != v1.PodReasonDeferred {
		t.Errorf("without room: %s", got)
	}
	if got, want := a.admission.asks["one"].answer.Message, "Node didn't have enough resource: cpu, requested: 2500, used: 2000, capacity: 4000"; got != want {
		t.Errorf("message %q, want %q", got, want)
	}
	if got := a.asks(one, "5", "1Gi", epoch); got != v1.PodReasonInfeasible {
		t.Errorf("more than the node has: %s", got)
	}
	if got := a.asks(one, "1", "6Gi", epoch); got != v1.PodReasonInfeasible {
		t.Errorf("less of one and too much of the other: %s", got)
	}
	if got := a.asks(one, "1", "3Gi", epoch); got != "Given" {
		t.Errorf("less of one and more of the other: %s", got)
	}
	// A node that has become too small takes less all the same.
	a.node.Status.Allocatable[v1.ResourceCPU] = resource.MustParse("1")
	if got := a.asks(two, "1500m", "1Gi", epoch); got != "Given" {
		t.Errorf("less on a node that is too full: %s", got)
	}
}

// TestRoomGoesInOrder: first to those who ask for no more, then by priority,
// class and time.
func TestRoomGoesInOrder(t *testing.T) {
	a := newTable()
	a.allKnown()
	big := podAsking("big", "3", "1Gi")
	all := map[string]*v1.Pod{"big": big}
	high := int32(5)
	for _, name := range []string{"late", "early", "safe", "high"} {
		all[name] = podAsking(name, "200m", "100Mi")
	}
	all["high"].Spec.Priority = &high
	all["safe"].Status.QOSClass = v1.PodQOSGuaranteed
	big.Status = *statusWith("a", "3", "1Gi")
	for _, p := range all {
		a.add(p)
	}
	for i, name := range []string{"early", "late", "safe", "high"} {
		if got := a.asks(all[name], "800m", "100Mi", epoch.Add(time.Duration(i)*time.Minute)); got != v1.PodReasonDeferred {
			t.Fatalf("%s: %s", name, got)
		}
	}
	var order []string
	for _, q := range a.inOrder() {
		order = append(order, q.pod.Name)
	}
	if want := []string{"high", "safe", "early", "late"}; !slices.Equal(order, want) {
		t.Fatalf("order %v, want %v", order, want)
	}
	a.woken = nil
	// There are 200m free, so room for one more is made by 400m, for the next by 600m.
	shrunk := podAsking("big", "2600m", "1Gi")
	if got := word(a.ask(big, shrunk, epoch)); got != "Given" {
		t.Fatalf("less: %s", got)
	}
	a.note(shrunk, statusWith("a", "3", "1Gi"))
	if got := a.given(); got != "" {
		t.Errorf("given before the cgroups say so: %s", got)
	}
	a.note(shrunk, statusWith("a", "2600m", "1Gi"))
	if got := a.given(); got != "high" {
		t.Errorf("given: %s", got)
	}
	if !slices.Contains(a.woken, "high") {
		t.Errorf("woken: %v", a.woken)
	}
	a.remove("big")
	if got := a.given(); got != "early,high,late,safe" {
		t.Errorf("given after the big one went: %s", got)
	}
	if got := a.asks(all["high"], "800m", "100Mi", epoch); got != "Given" || a.admission.asks["high"] != nil {
		t.Errorf("it hears its answer: %s", got)
	}
}

func statusWith(container, cpu, memory string) *v1.PodStatus {
	return &v1.PodStatus{ContainerStatuses: []v1.ContainerStatus{{Name: container, Resources: &v1.ResourceRequirements{Requests: amount(cpu, memory)}}}}
}

// given names the pods whose answer is yes and that have not heard it.
func (t *table) given() string {
	var all []string
	for uid, q := range t.admission.asks {
		if q.answer.Given {
			all = append(all, string(uid))
		}
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

// TestNobodyGrowsBeforeAllAreCounted is the start of skiff on a full node.
func TestNobodyGrowsBeforeAllAreCounted(t *testing.T) {
	a := newTable()
	one, two := podAsking("one", "1", "1Gi"), podAsking("two", "3", "1Gi")
	a.coming("one")
	a.coming("two")
	a.add(one)
	if got := a.asks(one, "2", "1Gi", epoch); got != "" {
		t.Errorf("while pods come: %s", got)
	}
	a.allKnown()
	if got := a.asks(one, "2", "1Gi", epoch); got != "" {
		t.Errorf("while one was not looked at: %s", got)
	}
	a.add(two)
	if got := a.asks(one, "2", "1Gi", epoch); got != v1.PodReasonDeferred || fmt.Sprint(a.woken) != "[one]" {
		t.Errorf("then: %s, woken %v", got, a.woken)
	}
}

func TestWithdrawnResize(t *testing.T) {
	a := newTable()
	a.allKnown()
	one, two := podAsking("one", "2", "1Gi"), podAsking("two", "1", "1Gi")
	a.add(one)
	a.add(two)
	if got := a.asks(one, "3", "1Gi", epoch); got != "Given" {
		t.Fatal(got)
	}
	// It did not take what it was given, and asks for something else.
	three := podAsking("three", "500m", "1Gi")
	if r := a.check(three, a.node); r == nil {
		t.Error("room was given twice")
	}
	if got := a.asks(one, "3500m", "1Gi", epoch); got != v1.PodReasonDeferred {
		t.Fatal(got)
	}
	a.withdraw(one)
	if r := a.check(three, a.node); r != nil {
		t.Errorf("room that nobody wants: %v", r)
	}
}
