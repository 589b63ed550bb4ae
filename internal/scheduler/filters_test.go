package scheduler

import (
	"fmt"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

type podOption func(*corev1.Pod)

func newPod(name string, options ...podOption) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name), Labels: map[string]string{}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "x"}}},
	}
	for _, o := range options {
		o(p)
	}
	return p
}

func wants(cpu, memory string) podOption {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
}

func labelled(key, value string) podOption {
	return func(p *corev1.Pod) { p.Labels[key] = value }
}

func prio(n int32) podOption { return func(p *corev1.Pod) { p.Spec.Priority = &n } }

func hostPort(ip string, n int32) podOption {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostIP: ip, HostPort: n, ContainerPort: n, Protocol: corev1.ProtocolTCP}}
	}
}

func affine(app, topology string, anti bool) podOption {
	return func(p *corev1.Pod) {
		terms := []corev1.PodAffinityTerm{{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}, TopologyKey: topology}}
		if p.Spec.Affinity == nil {
			p.Spec.Affinity = &corev1.Affinity{}
		}
		if anti {
			p.Spec.Affinity.PodAntiAffinity = &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}
		} else {
			p.Spec.Affinity.PodAffinity = &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}
		}
	}
}

func spreadOver(topology, app string, skew int32) podOption {
	return func(p *corev1.Pod) {
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			MaxSkew: skew, TopologyKey: topology, WhenUnsatisfiable: corev1.DoNotSchedule,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}}}
	}
}

type nodeOption func(*corev1.Node)

func newNode(name, cpu, memory string, pods int64, options ...nodeOption) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
			corev1.ResourcePods: *resource.NewQuantity(pods, resource.DecimalSI)}},
	}
	for _, o := range options {
		o(n)
	}
	return n
}

func zone(z string) nodeOption {
	return func(n *corev1.Node) { n.Labels[corev1.LabelTopologyZone] = z }
}

func taint(key string, effect corev1.TaintEffect) nodeOption {
	return func(n *corev1.Node) { n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: effect}) }
}

// snapshotOf builds a snapshot; pods maps nodes to the pods on them.
func snapshotOf(nodes []*corev1.Node, pods map[string][]*corev1.Pod) *snapshot {
	s := newSnapshot()
	for _, n := range nodes {
		s.setNode(n)
	}
	for node, list := range pods {
		for _, p := range list {
			p.Spec.NodeName = node
			s.addPod(newPodInfo(p))
		}
	}
	return s
}

func cycleFor(s *snapshot, p *corev1.Pod) *cycle {
	return &cycle{pod: newPodInfo(p), nodes: s.list(), namespace: func(string) labels.Set { return nil }}
}

func TestVerdicts(t *testing.T) {
	gate := corev1.ContainerRestartPolicyAlways
	cases := []struct {
		name  string
		nodes []*corev1.Node
		there map[string][]*corev1.Pod
		pod   *corev1.Pod
		want  string // a node, or the message
	}{
		{"no nodes", nil, nil, newPod("p"), "no nodes available to schedule pods"},
		{"fits", []*corev1.Node{newNode("a", "1", "1Gi", 10)}, nil, newPod("p", wants("1", "1Gi")), "a"},
		{"two reasons on one node", []*corev1.Node{newNode("a", "1", "1Gi", 10)}, nil, newPod("p", wants("2", "2Gi")),
			"0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."},
		{"pods count", []*corev1.Node{newNode("a", "1", "1Gi", 1)}, map[string][]*corev1.Pod{"a": {newPod("q")}}, newPod("p"),
			"0/1 nodes are available: 1 Too many pods."},
		{"each node its reason", []*corev1.Node{
			newNode("a", "1", "1Gi", 10), newNode("b", "4", "1Gi", 10, taint("t", corev1.TaintEffectNoSchedule)),
			newNode("c", "4", "1Gi", 10, func(n *corev1.Node) { n.Spec.Unschedulable = true })}, nil, newPod("p", wants("2", "1Mi")),
			"0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable."},
		{"preferred taints are no refusal", []*corev1.Node{newNode("a", "1", "1Gi", 10, taint("t", corev1.TaintEffectPreferNoSchedule))}, nil, newPod("p"), "a"},
		{"node selector", []*corev1.Node{newNode("a", "1", "1Gi", 10)}, nil, newPod("p", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} }),
			"0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."},
		{"host port", []*corev1.Node{newNode("a", "1", "1Gi", 10)}, map[string][]*corev1.Pod{"a": {newPod("q", hostPort("", 80))}}, newPod("p", hostPort("127.0.0.1", 80)),
			"0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."},
		{"host port of another address", []*corev1.Node{newNode("a", "1", "1Gi", 10)}, map[string][]*corev1.Pod{"a": {newPod("q", hostPort("10.0.0.1", 80))}}, newPod("p", hostPort("127.0.0.1", 80)), "a"},
		{"overhead counts", []*corev1.Node{newNode("a", "1", "1Gi", 10)}, nil,
			newPod("p", wants("1", "1Mi"), func(p *corev1.Pod) {
				p.Spec.Overhead = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1m")}
			}),
			"0/1 nodes are available: 1 Insufficient cpu."},
		{"a sidecar adds to the containers", []*corev1.Node{newNode("a", "1", "1Gi", 10)}, nil,
			newPod("p", wants("600m", "1Mi"), func(p *corev1.Pod) {
				p.Spec.InitContainers = []corev1.Container{{Name: "s", RestartPolicy: &gate, Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m")}}}}
			}),
			"0/1 nodes are available: 1 Insufficient cpu."},
		{"an init container does not", []*corev1.Node{newNode("a", "1", "1Gi", 10)}, nil,
			newPod("p", wants("600m", "1Mi"), func(p *corev1.Pod) {
				p.Spec.InitContainers = []corev1.Container{{Name: "s", Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("900m")}}}}
			}), "a"},
		{"affinity to nobody", []*corev1.Node{newNode("a", "1", "1Gi", 10)}, nil, newPod("p", affine("db", corev1.LabelHostname, false)),
			"0/1 nodes are available: 1 node(s) didn't match pod affinity rules."},
		{"affinity to itself", []*corev1.Node{newNode("a", "1", "1Gi", 10)}, nil, newPod("p", labelled("app", "db"), affine("db", corev1.LabelHostname, false)), "a"},
		{"affinity", []*corev1.Node{newNode("a", "1", "1Gi", 10), newNode("b", "1", "1Gi", 10)},
			map[string][]*corev1.Pod{"b": {newPod("q", labelled("app", "db"))}}, newPod("p", affine("db", corev1.LabelHostname, false)), "b"},
		{"anti-affinity", []*corev1.Node{newNode("a", "1", "1Gi", 10)}, map[string][]*corev1.Pod{"a": {newPod("q", labelled("app", "db"))}},
			newPod("p", affine("db", corev1.LabelHostname, true)), "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules."},
		{"anti-affinity of those there", []*corev1.Node{newNode("a", "1", "1Gi", 10)},
			map[string][]*corev1.Pod{"a": {newPod("q", affine("db", corev1.LabelHostname, true))}}, newPod("p", labelled("app", "db")),
			"0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules."},
		{"spread", []*corev1.Node{newNode("a", "1", "1Gi", 10, zone("1")), newNode("b", "1", "1Gi", 10, zone("2"))},
			map[string][]*corev1.Pod{"a": {newPod("q", labelled("app", "db"))}},
			newPod("p", labelled("app", "db"), spreadOver(corev1.LabelTopologyZone, "db", 1)), "b"},
		{"spread without the label", []*corev1.Node{newNode("a", "1", "1Gi", 10)}, nil,
			newPod("p", labelled("app", "db"), spreadOver(corev1.LabelTopologyZone, "db", 1)),
			"0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label)."},
		{"least allocated", []*corev1.Node{newNode("a", "4", "4Gi", 10), newNode("b", "4", "4Gi", 10)},
			map[string][]*corev1.Pod{"a": {newPod("q", wants("2", "2Gi"))}}, newPod("p", wants("1", "1Gi")), "b"},
		{"image locality", []*corev1.Node{newNode("a", "4", "4Gi", 10), newNode("b", "4", "4Gi", 10, func(n *corev1.Node) {
			n.Status.Images = []corev1.ContainerImage{{Names: []string{"x:latest"}, SizeBytes: 900 << 20}}
		})}, nil, newPod("p"), "b"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v := cycleFor(snapshotOf(c.nodes, c.there), c.pod).decide(filters(), scores())
			got := v.node
			if got == "" {
				got = v.message()
			}
			if got != c.want {
				t.Errorf("got %q\nwant %q", got, c.want)
			}
		})
	}
}

// TestRandomClusters places random pods on random nodes, and checks the result
// by counting anew: no node holds more than it can, no port is given twice,
// nobody is where a taint or an anti-affinity forbids it, and whoever was
// refused really fits nowhere.
func TestRandomClusters(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 3))
		var nodes []*corev1.Node
		for i := range 1 + r.IntN(6) {
			n := newNode(fmt.Sprint("n", i), fmt.Sprint(1+r.IntN(8)), fmt.Sprintf("%dGi", 1+r.IntN(8)), int64(1+r.IntN(12)), zone(fmt.Sprint(r.IntN(3))))
			if r.IntN(4) == 0 {
				n.Spec.Taints = []corev1.Taint{{Key: "t", Effect: corev1.TaintEffectNoSchedule}}
			}
			nodes = append(nodes, n)
		}
		s := snapshotOf(nodes, nil)
		for i := range 40 {
			p := randomPod(r, i)
			v := cycleFor(s, p).decide(filters(), scores())
			if v.node == "" {
				for _, n := range s.list() {
					if reason := forbids(n, p); reason == "" {
						t.Fatalf("seed %d: %s was refused (%s), but fits on %s", seed, p.Name, v.message(), n.name)
					}
				}
				continue
			}
			if reason := forbids(s.at(v.node), p); reason != "" {
				t.Fatalf("seed %d: %s went to %s against %s", seed, p.Name, v.node, reason)
			}
			s.assume(newPodInfo(p), v.node)
			if r.IntN(5) == 0 {
				for uid := range s.where {
					s.dropPod(uid)
					break
				}
			}
		}
	}
}

func randomPod(r *rand.Rand, i int) *corev1.Pod {
	p := newPod(fmt.Sprint("p", i), wants(fmt.Sprintf("%dm", r.IntN(3000)), fmt.Sprintf("%dMi", r.IntN(3000))), labelled("app", fmt.Sprint(r.IntN(3))))
	if r.IntN(3) == 0 {
		hostPort("", int32(80+r.IntN(2)))(p)
	}
	if r.IntN(3) == 0 {
		p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}
	if r.IntN(3) == 0 {
		affine(fmt.Sprint(r.IntN(3)), corev1.LabelHostname, true)(p)
	}
	return p
}

// forbids is the slow and simple statement of the rules.
func forbids(n *nodeInfo, p *corev1.Pod) string {
	cpu, memory := p.Spec.Containers[0].Resources.Requests.Cpu().MilliValue(), p.Spec.Containers[0].Resources.Requests.Memory().Value()
	hasPort := func(q *corev1.Pod) int32 {
		if len(q.Spec.Containers[0].Ports) == 0 {
			return 0
		}
		return q.Spec.Containers[0].Ports[0].HostPort
	}
	hates := func(a, b *corev1.Pod) bool {
		return a.Spec.Affinity != nil &&
			a.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].LabelSelector.MatchLabels["app"] == b.Labels["app"]
	}
	if len(n.node.Spec.Taints) > 0 && len(p.Spec.Tolerations) == 0 {
		return "a taint"
	}
	for _, q := range n.pods {
		cpu += q.pod.Spec.Containers[0].Resources.Requests.Cpu().MilliValue()
		memory += q.pod.Spec.Containers[0].Resources.Requests.Memory().Value()
		if hasPort(p) != 0 && hasPort(p) == hasPort(q.pod) {
			return "a port"
		}
		if hates(p, q.pod) || hates(q.pod, p) {
			return "anti-affinity"
		}
	}
	switch {
	case cpu > n.node.Status.Allocatable.Cpu().MilliValue():
		return "cpu"
	case memory > n.node.Status.Allocatable.Memory().Value():
		return "memory"
	case int64(len(n.pods)+1) > n.node.Status.Allocatable.Pods().Value():
		return "pods"
	}
	return ""
}

func TestPreemption(t *testing.T) {
	cases := []struct {
		name  string
		nodes []*corev1.Node
		there map[string][]*corev1.Pod
		pod   *corev1.Pod
		want  string
	}{
		{"nobody lower", []*corev1.Node{newNode("a", "1", "1Gi", 10)}, map[string][]*corev1.Pod{"a": {newPod("q", wants("1", "1Mi"))}}, newPod("p", wants("1", "1Mi")),
			"0/1 nodes are available: 1 No preemption victims found for incoming pod."},
		{"no help", []*corev1.Node{newNode("a", "1", "1Gi", 10)}, map[string][]*corev1.Pod{"a": {newPod("q", wants("1", "1Mi"))}}, newPod("p", wants("2", "1Mi"), prio(9)),
			"0/1 nodes are available: 1 Preemption is not helpful for scheduling."},
		{"the least important", []*corev1.Node{newNode("a", "2", "1Gi", 10)},
			map[string][]*corev1.Pod{"a": {newPod("q1", wants("1", "1Mi"), prio(1)), newPod("q2", wants("1", "1Mi"), prio(2))}}, newPod("p", wants("1", "1Mi"), prio(9)), "a: q1"},
		{"the cheaper node", []*corev1.Node{newNode("a", "1", "1Gi", 10), newNode("b", "1", "1Gi", 10)},
			map[string][]*corev1.Pod{"a": {newPod("q1", wants("1", "1Mi"), prio(3))}, "b": {newPod("q2", wants("1", "1Mi"), prio(2))}}, newPod("p", wants("1", "1Mi"), prio(9)), "b: q2"},
		{"never", []*corev1.Node{newNode("a", "1", "1Gi", 10)}, map[string][]*corev1.Pod{"a": {newPod("q", wants("1", "1Mi"))}},
			newPod("p", wants("1", "1Mi"), prio(9), func(p *corev1.Pod) { never := corev1.PreemptNever; p.Spec.PreemptionPolicy = &never }), "not eligible due to preemptionPolicy=Never."},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cy := cycleFor(snapshotOf(c.nodes, c.there), c.pod)
			way, got := cy.preempt(filters(), cy.decide(filters(), scores()))
			if way != nil {
				got = way.node + ":"
				for _, v := range way.victims {
					got += " " + v.pod.Name
				}
			}
			if got != c.want {
				t.Errorf("got %q\nwant %q", got, c.want)
			}
		})
	}
}

// BenchmarkDecide is one decision on a small and on a large cluster.
func BenchmarkDecide(b *testing.B) {
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprintf("nodes=%d", size), func(b *testing.B) {
			s := newSnapshot()
			for i := range size {
				s.setNode(newNode(fmt.Sprint("n", i), "64", "64Gi", 1000000))
			}
			for i := range 100 * size {
				p := newPod(fmt.Sprint("q", i), wants("1m", "1Mi"))
				p.Spec.NodeName = fmt.Sprint("n", i%size)
				s.addPod(newPodInfo(p))
			}
			f, sc, p := filters(), scores(), newPod("p", wants("1m", "1Mi"))
			for b.Loop() {
				if cycleFor(s, p).decide(f, sc).node == "" {
					b.Fatal("no node")
				}
			}
		})
	}
}
