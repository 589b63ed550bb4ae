package kubelet

import (
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// amount is a list of CPU and memory; empty: none of it.
func amount(cpu, memory string) v1.ResourceList {
	list := v1.ResourceList{}
	if cpu != "" {
		list[v1.ResourceCPU] = resource.MustParse(cpu)
	}
	if memory != "" {
		list[v1.ResourceMemory] = resource.MustParse(memory)
	}
	return list
}

func guaranteed(cpu, memory string) v1.ResourceRequirements {
	return v1.ResourceRequirements{Requests: amount(cpu, memory), Limits: amount(cpu, memory)}
}

// resize asks for other resources of containers, by name, through the subresource.
func (c *testCluster) resize(pod string, want map[string]v1.ResourceRequirements) *v1.Pod {
	c.t.Helper()
	spec := map[string][]v1.Container{}
	for _, name := range slices.Sorted(maps.Keys(want)) { // in the order of the pods below
		list := "containers"
		if name == "side" {
			list = "initContainers"
		}
		spec[list] = append(spec[list], v1.Container{Name: name, Resources: want[name]})
	}
	data, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		c.t.Fatal(err)
	}
	got, err := c.client.CoreV1().Pods("default").Patch(c.t.Context(), pod, types.StrategicMergePatchType, data, metav1.PatchOptions{}, "resize")
	if err != nil {
		c.t.Fatal(err)
	}
	return got
}

// resized waits until a pod has what its specification says, and is ready.
func (c *testCluster) resized(want *v1.Pod) *v1.Pod {
	c.t.Helper()
	return c.await(want.Name, "resized", func(p *v1.Pod) bool {
		return isReady(p) && p.Status.ObservedGeneration >= want.Generation &&
			conditionOf(p.Status, v1.PodResizePending).Type == "" && conditionOf(p.Status, v1.PodResizeInProgress).Type == ""
	})
}

func (c *testCluster) condition(pod string, kind v1.PodConditionType, reason string) v1.PodCondition {
	c.t.Helper()
	p := c.await(pod, string(kind)+" "+reason, func(p *v1.Pod) bool {
		got := conditionOf(p.Status, kind)
		return got.Type != "" && got.Reason == reason
	})
	return conditionOf(p.Status, kind)
}

// hasSizes compares the cgroups of a pod and of its containers with what they
// were given, and with what the status says of it.
func (c *testCluster) hasSizes(p *v1.Pod) {
	c.t.Helper()
	if got, err := c.kubelet.cgroups.sizes(c.kubelet.cgroups.parent(p)); err != nil || got.quota != sizesOf(podResources(p)).quota || got.memory != sizesOf(podResources(p)).memory {
		c.t.Errorf("cgroup of pod %s: %+v %v, want %+v", p.Name, got, err, sizesOf(podResources(p)))
	}
	v, err := observe(c.t.Context(), c.kubelet.deps.Runtime, string(p.UID))
	if err != nil {
		c.t.Fatal(err)
	}
	all := append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...)
	eachContainer(p, func(k *v1.Container) {
		want, r := sizesOf(containerResources(p, k, 0)), v.latest(k.Name)
		if got := sizesOf(r.Resources); got != want {
			c.t.Errorf("%s of pod %s: the container layer says %+v, want %+v", k.Name, p.Name, got, want)
		}
		if got := c.inside(p, r.ID); got.quota != want.quota || got.memory != want.memory || !c.sharesAre(got.shares, want.shares) {
			c.t.Errorf("%s of pod %s: the kernel says %+v, want %+v", k.Name, p.Name, got, want)
		}
		s := statusOf(all, k.Name)
		if !apiequality.Semantic.DeepEqual(*s.Resources, k.Resources) {
			c.t.Errorf("%s of pod %s: the status says %v, want %v", k.Name, p.Name, *s.Resources, k.Resources)
		}
		if !same(s.AllocatedResources, k.Resources.Requests, v1.ResourceCPU) || !same(s.AllocatedResources, k.Resources.Requests, v1.ResourceMemory) {
			c.t.Errorf("%s of pod %s: the status says that %v were given, want %v", k.Name, p.Name, s.AllocatedResources, k.Resources.Requests)
		}
	})
}

// sharesAre compares shares of processors; version 2 of cgroups keeps them as a
// weight of 1 to 10000.
func (c *testCluster) sharesAre(got, want int64) bool {
	layout, err := c.kubelet.cgroups.detect()
	return err == nil && (got == want || layout.V2 && max(got-want, want-got) <= 1+want/16)
}

// inside are the sizes of a container's cgroup, as the kernel has them.
func (c *testCluster) inside(p *v1.Pod, id string) sizes {
	c.t.Helper()
	got, err := c.kubelet.cgroups.sizes(path.Join(c.kubelet.cgroups.parent(p), id))
	if err != nil {
		c.t.Fatal(err)
	}
	return got
}

// TestResize changes the resources of pods that run. It has a node of its own,
// because it fills it.
func TestResize(t *testing.T) {
	if !enter(t) {
		return
	}
	c := startCluster(t)
	for _, s := range []scenario{
		{"in-place", tryResizeInPlace},
		{"init-container", tryResizeInit},
		{"the-pod-as-a-whole", tryResizeWhole},
		{"with-a-restart", tryResizeRestart},
		{"memory-in-use", tryResizeInUse},
		{"more-than-the-node", tryResizeTooMuch},
		{"waits-for-room", tryResizeDeferred},
		{"while-skiff-is-away", tryResizeAway},
	} {
		t.Run(s.name, func(t *testing.T) {
			c.t = t
			s.try(t, c)
		})
	}
	c.t = t
}

func tryResizeInPlace(t *testing.T, c *testCluster) {
	always := v1.ContainerRestartPolicyAlways
	c.pod("inplace", forever, func(p *v1.Pod) {
		main := p.Spec.Containers[0]
		main.Resources = guaranteed("100m", "64Mi")
		second := *main.DeepCopy()
		second.Name, second.Resources = "other", guaranteed("150m", "48Mi")
		side := *main.DeepCopy()
		side.Name, side.RestartPolicy, side.Resources = "side", &always, guaranteed("50m", "32Mi")
		p.Spec.Containers, p.Spec.InitContainers = []v1.Container{main, second}, []v1.Container{side}
	})
	before := c.ready("inplace")
	c.hasSizes(before)
	for _, want := range []map[string]v1.ResourceRequirements{
		{"main": guaranteed("200m", "96Mi"), "other": guaranteed("200m", "64Mi"), "side": guaranteed("100m", "48Mi")}, // all grow
		{"main": guaranteed("50m", "48Mi"), "other": guaranteed("300m", "96Mi")},                                      // one gives to the other
		{"main": guaranteed("100m", "64Mi"), "other": guaranteed("150m", "48Mi"), "side": guaranteed("50m", "32Mi")},  // all shrink
	} {
		after := c.resized(c.resize("inplace", want))
		c.hasSizes(after)
		if after.Status.QOSClass != v1.PodQOSGuaranteed {
			t.Errorf("class %s", after.Status.QOSClass)
		}
		for i, s := range after.Status.ContainerStatuses {
			if s.RestartCount != 0 || s.ContainerID != before.Status.ContainerStatuses[i].ContainerID {
				t.Errorf("%s was restarted", s.Name)
			}
		}
	}
	c.event("inplace", eventResizeStarted, "Pod resize started: {")
	c.event("inplace", eventResizeCompleted, "Pod resize completed: {")

	c.pod("burstable", forever, func(p *v1.Pod) { p.Spec.Containers[0].Resources.Requests = amount("100m", "") })
	c.ready("burstable")
	// Limits and a request that were not there.
	c.hasSizes(c.resized(c.resize("burstable", map[string]v1.ResourceRequirements{"main": {Requests: amount("150m", "32Mi"), Limits: amount("200m", "64Mi")}})))
	c.remove("inplace")
	c.remove("burstable")
}

// tryResizeInit: an init container that runs is resized, too, and what has not
// started starts with what it was given.
func tryResizeInit(t *testing.T, c *testCluster) {
	c.pod("init", forever, func(p *v1.Pod) {
		main := p.Spec.Containers[0]
		main.Resources = guaranteed("100m", "64Mi")
		p.Spec.Containers[0] = main
		first := *main.DeepCopy()
		first.Name, first.Command = "side", []string{"sh", "-c", "until test -e /tmp/go; do sleep 0.05; done"}
		p.Spec.InitContainers = []v1.Container{first}
	})
	c.await("init", "in its init container", func(p *v1.Pod) bool {
		return len(p.Status.InitContainerStatuses) > 0 && p.Status.InitContainerStatuses[0].State.Running != nil
	})
	asked := c.resize("init", map[string]v1.ResourceRequirements{"side": guaranteed("200m", "96Mi"), "main": guaranteed("150m", "80Mi")})
	p := c.await("init", "resized", func(p *v1.Pod) bool {
		return p.Status.ObservedGeneration >= asked.Generation && conditionOf(p.Status, v1.PodResizeInProgress).Type == ""
	})
	s := p.Status.InitContainerStatuses[0]
	want := sizesOf(containerResources(p, &p.Spec.InitContainers[0], 0))
	if got := c.inside(p, strings.TrimPrefix(s.ContainerID, idScheme)); got.quota != want.quota || got.memory != want.memory || s.RestartCount != 0 {
		t.Errorf("%+v, want %+v; %d restarts", got, want, s.RestartCount)
	}
	if _, _, err := c.kubelet.execProbe(t.Context(), strings.TrimPrefix(s.ContainerID, idScheme), []string{"touch", "/tmp/go"}, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	p = c.ready("init")
	want = sizesOf(containerResources(p, &p.Spec.Containers[0], 0))
	if got := c.inside(p, strings.TrimPrefix(mainStatus(p).ContainerID, idScheme)); got.quota != want.quota || got.memory != want.memory {
		t.Errorf("started with %+v, want %+v", got, want)
	}
	c.remove("init")
}

// tryResizeWhole: the pod has resources as a whole, its container has none.
func tryResizeWhole(t *testing.T, c *testCluster) {
	c.pod("whole", forever, func(p *v1.Pod) {
		r := guaranteed("200m", "64Mi")
		p.Spec.Resources = &r
	})
	c.ready("whole")
	for _, want := range []v1.ResourceRequirements{guaranteed("300m", "96Mi"), guaranteed("100m", "48Mi")} {
		data, err := json.Marshal(map[string]any{"spec": map[string]any{"resources": want}})
		if err != nil {
			t.Fatal(err)
		}
		asked, err := c.client.CoreV1().Pods("default").Patch(t.Context(), "whole", types.StrategicMergePatchType, data, metav1.PatchOptions{}, "resize")
		if err != nil {
			t.Fatal(err)
		}
		p := c.resized(asked)
		if !apiequality.Semantic.DeepEqual(p.Status.Resources, &want) || !apiequality.Semantic.DeepEqual(p.Status.AllocatedResources, want.Requests) {
			t.Errorf("the status says %v and %v, want %v", p.Status.Resources, p.Status.AllocatedResources, want)
		}
		if got := c.inside(p, ""); got.quota != want.Limits.Cpu().MilliValue()*100 || got.memory != want.Limits.Memory().Value() {
			t.Errorf("the kernel says %+v, want %v", got, want)
		}
	}
	c.remove("whole")
}

// tryResizeRestart: the program is started again for its memory, and not for its processors.
func tryResizeRestart(t *testing.T, c *testCluster) {
	c.pod("restart", forever, func(p *v1.Pod) {
		p.Spec.RestartPolicy = v1.RestartPolicyOnFailure // it ends with success
		p.Spec.Containers[0].Resources = guaranteed("100m", "64Mi")
		p.Spec.Containers[0].ResizePolicy = []v1.ContainerResizePolicy{
			{ResourceName: v1.ResourceCPU, RestartPolicy: v1.NotRequired}, {ResourceName: v1.ResourceMemory, RestartPolicy: v1.RestartContainer},
		}
	})
	c.ready("restart")
	for i, want := range []struct {
		to       v1.ResourceRequirements
		restarts int32
	}{
		{guaranteed("200m", "64Mi"), 0}, {guaranteed("200m", "96Mi"), 1}, {guaranteed("150m", "48Mi"), 2}, {guaranteed("100m", "48Mi"), 2},
	} {
		asked := c.resize("restart", map[string]v1.ResourceRequirements{"main": want.to})
		p := c.await("restart", "restarted and resized", func(p *v1.Pod) bool {
			return isReady(p) && p.Status.ObservedGeneration >= asked.Generation && mainStatus(p).RestartCount >= want.restarts &&
				conditionOf(p.Status, v1.PodResizeInProgress).Type == ""
		})
		if got := mainStatus(p).RestartCount; got != want.restarts {
			t.Errorf("%d: %d restarts, want %d", i, got, want.restarts)
		}
		c.hasSizes(p)
	}
	c.event("restart", "Killing", "Container main resize requires restart")
	c.remove("restart")
}

// tryResizeInUse: memory that is used is not taken away, until it is free.
func tryResizeInUse(t *testing.T, c *testCluster) {
	c.pod("inuse", "head -c 33554432 /dev/zero > /dev/shm/f; touch /tmp/filled; "+forever, func(p *v1.Pod) {
		p.Spec.Containers[0].Resources = guaranteed("100m", "64Mi")
		p.Spec.Containers[0].ReadinessProbe = &v1.Probe{ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"ls", "/tmp/filled"}}}, PeriodSeconds: 1}
	})
	before := c.ready("inuse")
	asked := c.resize("inuse", map[string]v1.ResourceRequirements{"main": guaranteed("200m", "16Mi")})
	cond := c.condition("inuse", v1.PodResizeInProgress, v1.PodReasonError)
	if !strings.Contains(cond.Message, `attempting to set container "main" memory limit (16777216) below current usage (`) || cond.ObservedGeneration != asked.Generation {
		t.Errorf("condition %+v", cond)
	}
	c.event("inuse", eventResizeError, "Pod resize error: {")
	if got := c.inside(before, strings.TrimPrefix(mainStatus(before).ContainerID, idScheme)); got.memory != 64<<20 {
		t.Errorf("the limit was set: %+v", got)
	}
	c.exec("inuse", "rm /dev/shm/f")
	p := c.resized(asked)
	c.hasSizes(p)
	if mainStatus(p).RestartCount != 0 {
		t.Errorf("%d restarts", mainStatus(p).RestartCount)
	}
	c.remove("inuse")
}

func (c *testCluster) allocatable() resource.Quantity {
	c.t.Helper()
	node, err := c.client.CoreV1().Nodes().Get(c.t.Context(), testNode, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return *node.Status.Allocatable.Cpu()
}

func tryResizeTooMuch(t *testing.T, c *testCluster) {
	c.pod("toomuch", forever, func(p *v1.Pod) { p.Spec.Containers[0].Resources.Requests = amount("100m", "") })
	c.ready("toomuch")
	huge := c.allocatable()
	huge.Add(huge)
	data := `{"spec":{"containers":[{"name":"main","resources":{"requests":{"cpu":"` + huge.String() + `"}}}]}}`
	_, err := c.client.CoreV1().Pods("default").Patch(t.Context(), "toomuch", types.StrategicMergePatchType, []byte(data), metav1.PatchOptions{}, "resize")
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "node didn't have enough allocatable resources: cpu") || !apierrors.HasStatusCause(err, "NodeCapacity") {
		t.Errorf("a resize beyond the node: %v", err)
	}
	c.remove("toomuch")
}

// most is what is left of the node's processors beside so many thousandths.
func (c *testCluster) most(less int64) v1.ResourceRequirements {
	all := c.allocatable()
	return v1.ResourceRequirements{Requests: v1.ResourceList{v1.ResourceCPU: *resource.NewMilliQuantity(all.MilliValue()-less, resource.DecimalSI)}}
}

func tryResizeDeferred(t *testing.T, c *testCluster) {
	requests := func(cpu string) v1.ResourceRequirements {
		return v1.ResourceRequirements{Requests: amount(cpu, "")}
	}
	small := func(p *v1.Pod) { p.Spec.Containers[0].Resources = requests("100m") }
	c.pod("first", forever, small)
	c.pod("second", forever, small)
	c.pod("big", forever, func(p *v1.Pod) { p.Spec.Containers[0].Resources = c.most(300) })
	for _, name := range []string{"first", "second", "big"} {
		c.ready(name)
	}
	first := c.resize("first", map[string]v1.ResourceRequirements{"main": requests("300m")})
	cond := c.condition("first", v1.PodResizePending, v1.PodReasonDeferred)
	if !strings.HasPrefix(cond.Message, "Node didn't have enough resource: cpu, requested: 300, used: ") || cond.ObservedGeneration != first.Generation {
		t.Errorf("condition %+v", cond)
	}
	c.event("first", eventResizeDeferred, "Pod resize Deferred: {")
	second := c.resize("second", map[string]v1.ResourceRequirements{"main": requests("300m")})
	c.condition("second", v1.PodResizePending, v1.PodReasonDeferred)

	// Room for one: it is that of the pod that asked first.
	c.resize("big", map[string]v1.ResourceRequirements{"main": c.most(500)})
	c.hasSizes(c.resized(first))
	c.condition("second", v1.PodResizePending, v1.PodReasonDeferred)
	c.remove("big")
	c.hasSizes(c.resized(second))

	// Who asks for less again waits no more.
	c.pod("big", forever, func(p *v1.Pod) { p.Spec.Containers[0].Resources = c.most(700) })
	c.ready("big")
	c.resize("first", map[string]v1.ResourceRequirements{"main": requests("600m")})
	c.condition("first", v1.PodResizePending, v1.PodReasonDeferred)
	c.hasSizes(c.resized(c.resize("first", map[string]v1.ResourceRequirements{"main": requests("300m")})))
	for _, name := range []string{"first", "second", "big"} {
		c.remove(name)
	}
}

// tryResizeAway: what is asked for while skiff is away is weighed when it is back,
// against what the pods were given, and not against what they ask for.
func tryResizeAway(t *testing.T, c *testCluster) {
	c.pod("fits", forever, func(p *v1.Pod) { p.Spec.Containers[0].Resources = guaranteed("100m", "64Mi") })
	c.pod("waits", forever, func(p *v1.Pod) { p.Spec.Containers[0].Resources = guaranteed("100m", "64Mi") })
	c.pod("big", forever, func(p *v1.Pod) { p.Spec.Containers[0].Resources = c.most(400) })
	fits, waits := c.ready("fits"), c.ready("waits")
	c.ready("big")
	// It was resized before, so what it has is on disk.
	c.hasSizes(c.resized(c.resize("waits", map[string]v1.ResourceRequirements{"main": guaranteed("150m", "64Mi")})))
	c.stop()
	wantFits := c.resize("fits", map[string]v1.ResourceRequirements{"main": guaranteed("200m", "96Mi")})
	wantWaits := c.resize("waits", map[string]v1.ResourceRequirements{"main": guaranteed("900m", "64Mi")})
	c.startNode()
	c.hasSizes(c.resized(wantFits))
	c.condition("waits", v1.PodResizePending, v1.PodReasonDeferred)
	now := c.ready("waits")
	if got := c.inside(now, strings.TrimPrefix(mainStatus(now).ContainerID, idScheme)); got.quota != 15000 {
		t.Errorf("a pod that waits has %+v", got)
	}
	if got := mainStatus(now).Resources.Limits.Cpu().MilliValue(); got != 150 {
		t.Errorf("a pod that waits says that it has %d", got)
	}
	c.remove("big")
	p := c.resized(wantWaits)
	c.hasSizes(p)
	for name, id := range map[string]string{"fits": mainStatus(fits).ContainerID, "waits": mainStatus(waits).ContainerID} {
		if s := mainStatus(c.ready(name)); s.ContainerID != id || s.RestartCount != 0 {
			t.Errorf("%s was restarted: %+v", name, s)
		}
		c.remove(name)
	}
}
