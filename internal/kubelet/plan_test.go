package kubelet

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var epoch = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// podOfNames makes a pod: names starting with i are init containers, with s
// sidecars, all others app containers.
func podOfNames(policy v1.RestartPolicy, names ...string) *v1.Pod {
	pod := &v1.Pod{}
	pod.Name, pod.Namespace, pod.UID = "p", "default", "u"
	pod.Spec.RestartPolicy = policy
	always := v1.ContainerRestartPolicyAlways
	for _, n := range names {
		c := v1.Container{Name: n, Image: "img"}
		switch n[0] {
		case 'i':
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
		case 's':
			c.RestartPolicy = &always
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
		default:
			pod.Spec.Containers = append(pod.Spec.Containers, c)
		}
	}
	return pod
}

func count(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}

// rec makes a record from "name:state", the state being run, new, ok, or an exit
// code; "name:state:n" gives a restart count.
func rec(text string) containerRecord {
	parts := strings.Split(text, ":")
	r := containerRecord{Name: parts[0], ID: "id-" + parts[0], SandboxID: "box", StartedAt: epoch.Add(-time.Minute), FinishedAt: epoch}
	if len(parts) > 2 {
		r.Restarts = count(parts[2])
		r.ID += "-" + parts[2]
	}
	switch parts[1] {
	case "run":
		r.State = runtimeapi.ContainerState_CONTAINER_RUNNING
	case "new":
		r.State = runtimeapi.ContainerState_CONTAINER_CREATED
	case "ok":
		r.State = runtimeapi.ContainerState_CONTAINER_EXITED
	default:
		r.State = runtimeapi.ContainerState_CONTAINER_EXITED
		r.ExitCode = int32(count(parts[1]))
	}
	return r
}

func viewOf(ready bool, records ...string) view {
	v := view{Sandboxes: []sandboxRecord{{ID: "box", Ready: ready, IPs: []string{"10.42.0.9"}}}}
	for _, text := range records {
		v.Containers = append(v.Containers, rec(text))
	}
	v.sort()
	return v
}

// inNewSandbox makes a view whose records are of a sandbox that is gone, but those
// that begin with "new".
func inNewSandbox(records ...string) view {
	v := viewOf(false)
	v.Sandboxes = append([]sandboxRecord{{ID: "box2", Attempt: 1, Ready: true}}, v.Sandboxes...)
	for _, text := range records {
		r := rec(strings.TrimPrefix(text, "new "))
		if strings.HasPrefix(text, "new ") {
			r.SandboxID = "box2"
		}
		v.Containers = append(v.Containers, r)
	}
	v.sort()
	return v
}

func describe(p plan) []string {
	var all []string
	for _, a := range p.Actions {
		text := string(a.Verb)
		if a.Container != "" {
			text += " " + a.Container
		}
		if a.Attempt > 0 {
			text += fmt.Sprintf(" #%d", a.Attempt)
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}

func TestPlan(t *testing.T) {
	later := epoch.Add(time.Hour)
	for name, c := range map[string]struct {
		pod    *v1.Pod
		view   view
		memory map[string]containerMemory
		end    *termination
		change func(*situation)
		want   string
		over   bool
	}{
		"a new pod gets volumes and a sandbox": {
			pod: podOfNames(v1.RestartPolicyAlways, "a"), change: func(s *situation) { s.Prepared = false }, want: "create-sandbox,prepare",
		},
		"app containers start together":        {pod: podOfNames(v1.RestartPolicyAlways, "a", "b"), view: viewOf(true), want: "start a,start b"},
		"containers wait for volumes":          {pod: podOfNames(v1.RestartPolicyAlways, "a"), view: viewOf(true), change: func(s *situation) { s.Prepared, s.Preparing = false, true }, want: ""},
		"init containers run one by one":       {pod: podOfNames(v1.RestartPolicyAlways, "i1", "i2", "a"), view: viewOf(true, "i1:ok"), want: "start i2"},
		"an init container holds back the app": {pod: podOfNames(v1.RestartPolicyAlways, "i1", "a"), view: viewOf(true, "i1:run"), want: ""},
		"apps follow the last init container":  {pod: podOfNames(v1.RestartPolicyAlways, "i1", "a"), view: viewOf(true, "i1:ok"), want: "start a"},
		"a failed init container runs again":   {pod: podOfNames(v1.RestartPolicyAlways, "i1", "a"), view: viewOf(true, "i1:1"), want: "start i1 #1"},
		"a sidecar does not hold back":         {pod: podOfNames(v1.RestartPolicyAlways, "s1", "a"), view: viewOf(true, "s1:run"), want: "start a"},
		"a sidecar that is starting does":      {pod: podOfNames(v1.RestartPolicyAlways, "s1", "a"), view: viewOf(true, "s1:run"), memory: map[string]containerMemory{"s1": {Busy: true, Starting: true}}, want: ""},
		"a dead sidecar restarts beside apps":  {pod: podOfNames(v1.RestartPolicyNever, "s1", "a"), view: viewOf(true, "s1:0", "a:run"), want: "start s1 #1"},
		"init is not run again with apps":      {pod: podOfNames(v1.RestartPolicyAlways, "i1", "a"), view: viewOf(true, "a:1"), want: "start a #1"},
		"success restarts with Always":         {pod: podOfNames(v1.RestartPolicyAlways, "a"), view: viewOf(true, "a:ok"), want: "start a #1"},
		"success ends with OnFailure":          {pod: podOfNames(v1.RestartPolicyOnFailure, "a"), view: viewOf(true, "a:ok"), want: "stop-sandbox"},
		"failure ends with Never":              {pod: podOfNames(v1.RestartPolicyNever, "a"), view: viewOf(true, "a:3"), want: "stop-sandbox"},
		"a rule restarts in spite of Never":    {pod: ownPolicy("Never", "Never", "a", 42), view: viewOf(true, "a:42"), want: "start a #1"},
		"a rule for another code does not":     {pod: ownPolicy("Never", "Never", "a", 42), view: viewOf(true, "a:3"), want: "stop-sandbox"},
		"one of two goes on":                   {pod: podOfNames(v1.RestartPolicyNever, "a", "b"), view: viewOf(true, "a:3", "b:run"), want: ""},
		"over when the sandbox has stopped":    {pod: podOfNames(v1.RestartPolicyNever, "a"), view: viewOf(false, "a:3"), want: "", over: true},
		"apps done end the sidecars":           {pod: podOfNames(v1.RestartPolicyNever, "s1", "a"), view: viewOf(true, "s1:run", "a:ok"), want: "kill s1"},
		"a crash loop waits": {
			pod: podOfNames(v1.RestartPolicyAlways, "a"), view: viewOf(true, "a:1:3"),
			memory: map[string]containerMemory{"a": {Backoff: backoff{Delay: 20 * time.Second, Last: epoch.Add(-time.Minute)}}}, want: "",
		},
		"a lost sandbox is made again":          {pod: podOfNames(v1.RestartPolicyAlways, "a"), view: viewOf(false, "a:137"), want: "create-sandbox #1"},
		"init runs again in a new sandbox":      {pod: podOfNames(v1.RestartPolicyAlways, "i1", "i2", "a"), view: inNewSandbox("i1:ok", "i2:ok", "a:137"), want: "start i1 #1"},
		"one after the other":                   {pod: podOfNames(v1.RestartPolicyOnFailure, "i1", "i2", "a"), view: inNewSandbox("i1:ok", "i2:ok", "a:137", "new i1:ok:1"), want: "start i2 #1"},
		"what succeeded does not, in a new one": {pod: podOfNames(v1.RestartPolicyOnFailure, "a", "b"), view: inNewSandbox("a:ok", "b:137"), want: "start b #1"},
		"what runs in a lost sandbox ends first": {
			pod: podOfNames(v1.RestartPolicyAlways, "a"), view: viewOf(false, "a:run"), want: "kill a",
		},
		"a created container nobody starts is removed": {pod: podOfNames(v1.RestartPolicyAlways, "a"), view: viewOf(true, "a:new"), want: "remove a"},
		"a created container in a lost sandbox goes":   {pod: podOfNames(v1.RestartPolicyAlways, "a"), view: viewOf(false, "a:new"), want: "remove a"},
		"the end removes what never started":           {pod: podOfNames(v1.RestartPolicyAlways, "a"), view: viewOf(true, "a:new"), end: &termination{Since: epoch, Grace: 30}, want: "remove a"},
		"a failed start waits":                         {pod: podOfNames(v1.RestartPolicyAlways, "a"), view: viewOf(true), memory: map[string]containerMemory{"a": {RetryAt: later}}, want: ""},
		"a condemned container is killed":              {pod: podOfNames(v1.RestartPolicyAlways, "a"), view: viewOf(true, "a:run"), memory: map[string]containerMemory{"a": {Doomed: "id-a"}}, want: "kill a"},
		"only the last dead containers stay":           {pod: podOfNames(v1.RestartPolicyAlways, "a"), view: viewOf(true, "a:1:0", "a:1:1", "a:run:2"), want: "remove a"},
		"the end kills all":                            {pod: podOfNames(v1.RestartPolicyAlways, "a", "b"), view: viewOf(true, "a:run", "b:run"), end: &termination{Since: epoch, Grace: 30}, want: "kill a,kill b"},
		"sidecars end after the apps":                  {pod: podOfNames(v1.RestartPolicyAlways, "s1", "s2", "a"), view: viewOf(true, "s1:run", "s2:run", "a:run"), end: &termination{Since: epoch, Grace: 30}, want: "kill a"},
		"sidecars end in reverse order":                {pod: podOfNames(v1.RestartPolicyAlways, "s1", "s2", "a"), view: viewOf(true, "s1:run", "s2:run", "a:ok"), end: &termination{Since: epoch, Grace: 30}, want: "kill s2"},
		"a sidecar's hook does not wait":               {pod: withHook(podOfNames(v1.RestartPolicyAlways, "s1", "a"), "s1"), view: viewOf(true, "s1:run", "a:run"), end: &termination{Since: epoch, Grace: 30}, want: "kill a,pre-stop s1"},
		"it runs once": {
			pod: withHook(podOfNames(v1.RestartPolicyAlways, "s1", "a"), "s1"), view: viewOf(true, "s1:run", "a:run"),
			memory: map[string]containerMemory{"s1": {Hooked: "id-s1"}}, end: &termination{Since: epoch, Grace: 30}, want: "kill a",
		},
		"but not after the grace period":           {pod: podOfNames(v1.RestartPolicyAlways, "s1", "a"), view: viewOf(true, "s1:run", "a:run"), end: &termination{Since: epoch.Add(-time.Minute), Grace: 30}, want: "kill a,kill s1"},
		"a pod that never started is over at once": {pod: podOfNames(v1.RestartPolicyAlways, "a"), end: &termination{Since: epoch, Grace: 30}, want: "", over: true},
		"the end waits for what is under way":      {pod: podOfNames(v1.RestartPolicyAlways, "a"), end: &termination{Since: epoch, Grace: 30}, change: func(s *situation) { s.SandboxBusy = true }, want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := situation{Pod: c.pod, View: c.view, Memory: c.memory, Termination: c.end, Prepared: true, Now: epoch}
			if c.change != nil {
				c.change(&s)
			}
			p := makePlan(s)
			if got := strings.Join(describe(p), ","); got != c.want || p.Over != c.over {
				t.Errorf("plan %q over %v, want %q over %v", got, p.Over, c.want, c.over)
			}
		})
	}
}

func withHook(pod *v1.Pod, name string) *v1.Pod {
	findContainer(pod, name).Lifecycle = &v1.Lifecycle{PreStop: &v1.LifecycleHandler{Sleep: &v1.SleepAction{Seconds: 1}}}
	return pod
}

// TestCountsOnWithoutRecords: a container that somebody took away from under the node agent
// was started before, whether its status says so already or not.
func TestCountsOnWithoutRecords(t *testing.T) {
	pod := podOfNames("Always", "a")
	told := func(v view, before *v1.PodStatus) v1.PodStatus {
		return statusFor(pod, v, func(in *statusInput) { in.Last = before })
	}
	fresh := told(viewOf(true), nil)
	runs := told(viewOf(true, "a:run:2"), nil)
	vanished := told(viewOf(true), &runs)
	ended := told(viewOf(true, "a:1:2"), nil)
	for name, c := range map[string]struct {
		status v1.PodStatus
		want   string
	}{"never started": {fresh, "start a"}, "it ran": {runs, "start a #3"}, "it is told": {vanished, "start a #3"}, "it ended": {ended, "start a #3"}} {
		with := pod.DeepCopy()
		with.Status = c.status
		p := makePlan(situation{Pod: with, View: viewOf(true), Prepared: true, Now: epoch})
		if got := strings.Join(describe(p), ","); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestAnotherImageStartsAtOnce: what an image did wrong does not hold back the next one.
func TestAnotherImageStartsAtOnce(t *testing.T) {
	w := newWorker(nil, "u")
	pod := podOfNames("Always", "a", "b")
	w.takePod(pod)
	held := containerMemory{Backoff: backoff{Delay: backoffMax, Last: epoch}, Waiting: &v1.ContainerStateWaiting{Reason: reasonPullBackOff}, RetryAt: epoch.Add(time.Hour)}
	w.memory["a"], w.memory["b"] = held, held
	w.pullRetry("a").next()
	next := pod.DeepCopy()
	next.Spec.Containers[0].Image = "another"
	w.takePod(next)
	if a := w.memory["a"]; a.Waiting != nil || !a.RetryAt.IsZero() || a.Backoff.Delay != 0 || w.pullRetry("a").delay != 0 {
		t.Errorf("with another image: %+v", a)
	}
	if b := w.memory["b"]; b.Waiting == nil || b.Backoff.Delay == 0 {
		t.Errorf("with the same image: %+v", b)
	}
	// The start of the old one was under way.
	w.started(&pod.Spec.Containers[0], &startError{Reason: reasonErrPull, Retry: time.Hour, Pull: "img"})
	if a := w.memory["a"]; a.Waiting != nil || !a.RetryAt.IsZero() {
		t.Errorf("after the old image failed: %+v", a)
	}
}

func TestBackoffDoublesAndResets(t *testing.T) {
	var b backoff
	if !b.until(epoch).IsZero() {
		t.Error("the first restart must be at once")
	}
	var delays []time.Duration
	now := epoch
	for range 8 {
		b = b.next(now, now)
		delays = append(delays, b.Delay/time.Second)
		now = now.Add(b.Delay)
	}
	if want := []time.Duration{10, 20, 40, 80, 160, 300, 300, 300}; !slices.Equal(delays, want) {
		t.Errorf("delays %v, want %v", delays, want)
	}
	if until := b.until(now); until.Sub(now) != backoffMax {
		t.Errorf("next restart after %s", until.Sub(now))
	}
	ran := now.Add(backoffReset + time.Minute)
	if !b.until(ran).IsZero() || b.next(ran, ran).Delay != backoffFirst {
		t.Error("a container that ran for long must start afresh")
	}
}
