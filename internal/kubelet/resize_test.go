package kubelet

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// sized is a situation of a pod whose containers run with what they have, and that
// was given other resources since.
func sized(have, given map[string]v1.ResourceRequirements, policy ...v1.ContainerResizePolicy) *situation {
	make := func(all map[string]v1.ResourceRequirements) *v1.Pod {
		pod := podOfNames(v1.RestartPolicyAlways, "s", "a", "b")
		eachContainer(pod, func(c *v1.Container) { c.Resources, c.ResizePolicy = all[c.Name], policy })
		return pod
	}
	old := make(have)
	s := &situation{Pod: make(given), View: viewOf(true, "s:run", "a:run", "b:run"), Memory: map[string]containerMemory{}, Prepared: true, Now: epoch}
	eachContainer(old, func(c *v1.Container) {
		r := s.View.latest(c.Name)
		r.Resources, r.Given = containerResources(old, c, 0), startedWith(old, c)
	})
	s.Resize = resizeView{Active: true, Known: true, Pod: sizesOf(podResources(old))}
	return s
}

func three(s, a, b v1.ResourceRequirements) map[string]v1.ResourceRequirements {
	return map[string]v1.ResourceRequirements{"s": s, "a": a, "b": b}
}

func TestPlanResize(t *testing.T) {
	small, large := guaranteed("100m", "64Mi"), guaranteed("200m", "128Mi")
	restart := []v1.ContainerResizePolicy{{ResourceName: v1.ResourceMemory, RestartPolicy: v1.RestartContainer}}
	for name, c := range map[string]struct {
		s      *situation
		change func(*situation)
		want   string
		runs   bool // the resize goes on
	}{
		"as it was given":        {s: sized(three(small, small, small), three(small, small, small))},
		"a container grows":      {s: sized(three(small, small, small), three(small, large, small)), want: "resize", runs: true},
		"a sidecar shrinks":      {s: sized(three(large, small, small), three(small, small, small)), want: "resize", runs: true},
		"the pod stays as it is": {s: sized(three(small, large, small), three(small, small, large)), want: "resize", runs: true},
		"equal for the kernel":   {s: sized(three(small, small, guaranteed("2m", "64Mi")), three(small, small, guaranteed("1m", "64Mi"))), change: func(s *situation) { s.Resize.Pod = sizesOf(podResources(s.Pod)) }},
		"not resized at all":     {s: sized(three(small, small, small), three(small, large, small)), change: func(s *situation) { s.Resize.Active = false }},
		"under way":              {s: sized(three(small, small, small), three(small, large, small)), change: func(s *situation) { s.Resize.Busy = true }, runs: true},
		"after an error":         {s: sized(three(small, small, small), three(small, large, small)), change: func(s *situation) { s.Resize.At = epoch.Add(time.Second) }, runs: true},
		"one that is not there":  {s: sized(three(small, small, small), three(small, large, small)), change: func(s *situation) { s.View = viewOf(true, "s:run", "b:run") }, want: "resize", runs: true},
		"it starts when there is room": {s: sized(three(small, small, small), three(small, large, small)), change: func(s *situation) {
			s.View = viewOf(true, "s:run", "b:run")
			for i := range s.View.Containers {
				c := findContainer(s.Pod, s.View.Containers[i].Name)
				s.View.Containers[i].Resources = containerResources(s.Pod, c, 0)
			}
			s.Resize.Pod = sizesOf(podResources(s.Pod))
		}, want: "start a"},
		"the policy wants a restart":         {s: sized(three(small, small, small), three(small, large, small), restart...), want: "kill a,resize", runs: true},
		"and not for processors":             {s: sized(three(small, small, small), three(small, guaranteed("200m", "64Mi"), small), restart...), want: "resize", runs: true},
		"killed already":                     {s: sized(three(small, small, small), three(small, small, large), restart...), change: func(s *situation) { s.Memory["b"] = containerMemory{Busy: true} }, want: "resize", runs: true},
		"the pod is large for one that ends": {s: sized(three(small, small, large), three(small, small, small), restart...), want: "kill b", runs: true},
		"it has ended": {s: sized(three(small, small, large), three(small, small, small), restart...), change: func(s *situation) {
			r := s.View.latest("b")
			r.State = runtimeapi.ContainerState_CONTAINER_EXITED
			s.Pod.Spec.RestartPolicy = v1.RestartPolicyOnFailure
			s.Memory["b"] = containerMemory{Resized: r.ID, Backoff: backoff{Delay: time.Hour, Last: epoch}}
		}, want: "resize,start b #1", runs: true},
	} {
		t.Run(name, func(t *testing.T) {
			if c.change != nil {
				c.change(c.s)
			}
			if got := strings.Join(describe(makePlan(*c.s)), ","); got != c.want {
				t.Errorf("plan %q, want %q", got, c.want)
			}
			if got := c.s.resizing(); got != c.runs {
				t.Errorf("goes on: %t", got)
			}
		})
	}
}

// TestPodFirstOrLast: a pod's cgroup grows before its containers and shrinks after
// them, and never below what still runs.
func TestPodFirstOrLast(t *testing.T) {
	small, large := guaranteed("100m", "64Mi"), guaranteed("200m", "128Mi")
	s := sized(three(small, large, small), three(small, small, large))
	w := s.resizeWork()
	if got := w.target(s.Resize.Pod); got != s.Resize.Pod {
		t.Errorf("a pod that keeps its size gets %+v, had %+v", got, s.Resize.Pod)
	}
	var names []string
	for _, c := range ordered(w.Changes) {
		names = append(names, c.Container)
	}
	if !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("who gives back comes first: %v", names)
	}
	s = sized(three(small, small, large), three(small, large, small))
	w = s.resizeWork()
	if first := ordered(w.Changes)[0].Container; first != "b" {
		t.Errorf("who gives back comes first: %s", first)
	}
	s = sized(three(small, large, small), three(small, small, small))
	w = s.resizeWork()
	if got := w.target(s.Resize.Pod); got != sizesOf(podResources(s.Pod)) {
		t.Errorf("a smaller pod gets %+v", got)
	}
	s.Memory["b"] = containerMemory{Busy: true}
	w = s.resizeWork()
	if got := w.target(s.Resize.Pod); got != s.Resize.Pod {
		t.Errorf("while one starts, a smaller pod gets %+v", got)
	}
	// No limit is the highest.
	none, some := sizes{shares: 2}, sizes{shares: 100, quota: 5000, memory: 1 << 20}
	if got := some.atLeast(none); got != (sizes{shares: 100}) {
		t.Errorf("%+v", got)
	}
	if !lowers(5, 0) || !lowers(5, 6) || lowers(0, 5) || lowers(6, 5) || lowers(5, 5) {
		t.Error("what lowers a limit")
	}
}

func TestActualResources(t *testing.T) {
	c := &v1.Container{Name: "a"}
	before := func(r v1.ResourceRequirements) *v1.ContainerStatus {
		return &v1.ContainerStatus{Name: "a", ContainerID: idScheme + "id-a", Resources: &r}
	}
	burst := func(cpu, memory, cpuLimit, memoryLimit string) v1.ResourceRequirements {
		return v1.ResourceRequirements{Requests: amount(cpu, memory), Limits: amount(cpuLimit, memoryLimit)}
	}
	for name, k := range map[string]struct {
		given, runs, want v1.ResourceRequirements
		before            *v1.ContainerStatus
	}{
		"as given":                             {given: guaranteed("100m", "64Mi"), runs: guaranteed("100m", "64Mi"), want: guaranteed("100m", "64Mi")},
		"every milli comes back":               {given: guaranteed("123m", "1Mi"), runs: guaranteed("123m", "1Mi"), want: guaranteed("123m", "1Mi")},
		"not changed yet":                      {given: guaranteed("200m", "128Mi"), runs: guaranteed("100m", "64Mi"), before: before(guaranteed("100m", "64Mi")), want: guaranteed("100m", "64Mi")},
		"below what the kernel tells":          {given: burst("1m", "64Mi", "5m", "64Mi"), runs: burst("2m", "64Mi", "10m", "64Mi"), want: burst("1m", "64Mi", "5m", "64Mi")},
		"a limit that is not there yet":        {given: burst("100m", "", "200m", "64Mi"), runs: burst("100m", "", "", ""), want: burst("100m", "", "", "")},
		"a request of memory is there at once": {given: burst("100m", "64Mi", "", ""), runs: burst("100m", "32Mi", "", ""), before: before(burst("100m", "32Mi", "", "")), want: burst("100m", "64Mi", "", "")},
	} {
		t.Run(name, func(t *testing.T) {
			pod := podOfNames(v1.RestartPolicyAlways, "a")
			pod.Spec.Containers[0].Resources = k.runs
			r := rec("a:run")
			r.Resources = containerResources(pod, &pod.Spec.Containers[0], 0)
			c.Resources = k.given
			if d := cmp.Diff(k.want, *actualResources(c, &r, k.before)); d != "" {
				t.Error(d)
			}
			r.State = runtimeapi.ContainerState_CONTAINER_EXITED
			if d := cmp.Diff(k.given, *actualResources(c, &r, k.before)); d != "" {
				t.Errorf("one that does not run: %s", d)
			}
		})
	}
}

func TestResizeConditions(t *testing.T) {
	pod := podOfNames(v1.RestartPolicyAlways, "a")
	pod.Generation = 3
	deferred := answer{Reason: v1.PodReasonDeferred, Message: "full"}
	first := resizeCondition(v1.PodResizePending, nil, deferred, 3, epoch)
	if again := resizeCondition(v1.PodResizePending, first, deferred, 3, epoch.Add(time.Hour)); again != first {
		t.Errorf("nothing new makes a new condition: %+v", again)
	}
	other := resizeCondition(v1.PodResizePending, first, answer{Reason: v1.PodReasonDeferred, Message: "fuller"}, 3, epoch.Add(time.Hour))
	if !other.LastTransitionTime.Equal(&first.LastTransitionTime) || other.Message != "fuller" {
		t.Errorf("the same reason: %+v", other)
	}
	other = resizeCondition(v1.PodResizePending, first, answer{Reason: v1.PodReasonInfeasible}, 4, epoch.Add(time.Hour))
	if other.LastTransitionTime.Equal(&first.LastTransitionTime) || other.ObservedGeneration != 4 {
		t.Errorf("another reason: %+v", other)
	}
	s := statusFor(pod, viewOf(true, "a:run"), func(in *statusInput) { in.Resize = []v1.PodCondition{*first} })
	if got := conditionOf(s, v1.PodResizePending); got.Reason != v1.PodReasonDeferred || got.Status != v1.ConditionTrue || s.ObservedGeneration != 3 {
		t.Errorf("status %+v", s)
	}
	// It goes from the status, and from what the API server has.
	pod.Status = s
	last := s
	s = statusFor(pod, viewOf(true, "a:run"), func(in *statusInput) { in.Last = &last })
	if got := conditionOf(s, v1.PodResizePending); got.Type != "" {
		t.Errorf("the condition stays: %+v", got)
	}
	keepForeign(&last, &s)
	if got := conditionOf(s, v1.PodResizePending); got.Type != "" {
		t.Errorf("the condition comes back: %+v", got)
	}
	if patch, err := statusPatch(&v1.Pod{Status: last}, &s); err != nil || !strings.Contains(string(patch), `{"$patch":"delete","type":"PodResizePending"}`) {
		t.Errorf("%s %v", patch, err)
	}
}

// TestAllocationOutlivesSkiff: the file of a pod that was resized counts more than
// what its sandbox was made with.
func TestAllocationOutlivesSkiff(t *testing.T) {
	k := &Kubelet{deps: Deps{DataDir: t.TempDir()}}
	given, wanted := podAsking("p", "100m", "64Mi"), podAsking("p", "200m", "64Mi")
	v := view{Sandboxes: []sandboxRecord{{Ready: true, Allocated: allocationOf(given).text()}}}
	find := func() (*allocation, bool) {
		t.Helper()
		a, resized, err := k.findAllocation(wanted, &v)
		if err != nil {
			t.Fatal(err)
		}
		return a, resized
	}
	if a, resized := find(); !a.equal(allocationOf(given)) || resized {
		t.Errorf("from the sandbox: %+v %t", a, resized)
	}
	third := allocationOf(podAsking("p", "300m", "64Mi"))
	if err := k.saveAllocation(wanted, third); err != nil {
		t.Fatal(err)
	}
	a, resized := find()
	if !a.equal(third) || !resized {
		t.Errorf("from the file: %+v %t", a, resized)
	}
	p := a.onto(wanted)
	if p == wanted || p.Spec.Containers[0].Resources.Requests.Cpu().String() != "300m" || wanted.Spec.Containers[0].Resources.Requests.Cpu().String() != "200m" {
		t.Errorf("the pod as it was given: %+v, as it is wanted: %+v", p.Spec.Containers, wanted.Spec.Containers)
	}
	if allocationOf(wanted).onto(wanted) != wanted {
		t.Error("what is as wanted was copied")
	}
	files, err := os.ReadDir(filepath.Join(k.deps.DataDir, "pods", "p"))
	if err != nil || len(files) != 1 {
		t.Errorf("files %v %v", files, err)
	}
	if err := os.WriteFile(filepath.Join(k.deps.DataDir, "pods", "p", allocationFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.findAllocation(wanted, &v); err == nil {
		t.Error("a damaged file was believed")
	}
}

func TestResizeText(t *testing.T) {
	got := resizeText("Pod resize Deferred", podAsking("p", "100m", ""), 4, "full")
	if want := `Pod resize Deferred: {"containers":[{"name":"a","resources":{"requests":{"cpu":"100m"}}}],"generation":4,"error":"full"}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestLimitsOfTheWholePod: a container without limits has its pod's, and is started
// again for them if its policy says so.
func TestLimitsOfTheWholePod(t *testing.T) {
	pod := podOfNames(v1.RestartPolicyAlways, "a")
	c := &pod.Spec.Containers[0]
	c.Resources.Limits = amount("", "32Mi")
	c.ResizePolicy = []v1.ContainerResizePolicy{{ResourceName: v1.ResourceCPU, RestartPolicy: v1.RestartContainer}}
	own := guaranteed("500m", "128Mi")
	pod.Spec.Resources = &own
	if got := sizesOf(containerResources(pod, c, 0)); got.quota != 50000 || got.memory != 32<<20 {
		t.Errorf("%+v", got)
	}
	r := rec("a:run")
	r.Given = startedWith(pod, c)
	if resizeRestarts(pod, c, &r) {
		t.Error("restarted for nothing")
	}
	more := guaranteed("600m", "256Mi")
	pod.Spec.Resources = &more
	if !resizeRestarts(pod, c, &r) {
		t.Error("not restarted for its pod's limit")
	}
}

func TestPodLevelStatus(t *testing.T) {
	pod := podOfNames(v1.RestartPolicyAlways, "a")
	own := guaranteed("500m", "128Mi")
	pod.Spec.Resources = &own
	have := sizesOf(podResources(pod))
	have.quota = 25000
	s := statusFor(pod, viewOf(true, "a:run"), func(in *statusInput) { in.PodSizes = &have })
	if s.AllocatedResources.Cpu().String() != "500m" || s.Resources.Limits.Cpu().String() != "250m" || s.Resources.Limits.Memory().String() != "128Mi" {
		t.Errorf("given %v, has %+v", s.AllocatedResources, s.Resources)
	}
	// Without any of its own it has the sum of its containers'.
	pod = podOfNames(v1.RestartPolicyAlways, "a", "b")
	pod.Spec.Containers[0].Resources = guaranteed("100m", "64Mi")
	pod.Spec.Containers[1].Resources = v1.ResourceRequirements{Requests: amount("50m", ""), Limits: amount("200m", "")}
	s = statusFor(pod, viewOf(true, "a:run", "b:run"), nil)
	want := v1.ResourceRequirements{Requests: amount("150m", "64Mi"), Limits: amount("300m", "")}
	if d := cmp.Diff(want, *s.Resources); d != "" || !cmp.Equal(want.Requests, s.AllocatedResources) {
		t.Errorf("%s, given %v", d, s.AllocatedResources)
	}
	if s := statusFor(podOfNames(v1.RestartPolicyAlways, "a"), viewOf(true, "a:run"), nil); s.Resources != nil || len(s.AllocatedResources) != 0 {
		t.Errorf("nothing is %v %v", s.Resources, s.AllocatedResources)
	}
}
