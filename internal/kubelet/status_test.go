package kubelet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func statusFor(pod *v1.Pod, v view, change func(*statusInput)) v1.PodStatus {
	in := statusInput{Pod: pod, View: &v, Memory: map[string]containerMemory{}, Now: epoch, HostIPs: []string{"192.0.2.1"}}
	if change != nil {
		change(&in)
	}
	return makeStatus(in)
}

func conditionOf(s v1.PodStatus, t v1.PodConditionType) v1.PodCondition {
	for _, c := range s.Conditions {
		if c.Type == t {
			return c
		}
	}
	return v1.PodCondition{}
}

func TestPhaseAndReadiness(t *testing.T) {
	final := func(in *statusInput) { in.Final = true }
	for name, c := range map[string]struct {
		pod    *v1.Pod
		view   view
		change func(*statusInput)
		phase  v1.PodPhase
		ready  string // status and reason of Ready
	}{
		"nothing yet":            {pod: podOfNames("Always", "a"), phase: v1.PodPending, ready: "False ContainersNotReady"},
		"running":                {pod: podOfNames("Always", "a"), view: viewOf(true, "a:run"), phase: v1.PodRunning, ready: "True "},
		"one of two":             {pod: podOfNames("Always", "a", "b"), view: viewOf(true, "a:run"), phase: v1.PodPending, ready: "False ContainersNotReady"},
		"one of two, again":      {pod: podOfNames("Always", "a", "b"), view: viewOf(true, "a:run", "b:1"), phase: v1.PodRunning, ready: "False ContainersNotReady"},
		"own policy: never":      {pod: ownPolicy("Always", "Never", "a"), view: viewOf(true, "a:1"), phase: v1.PodFailed, ready: "False PodFailed"},
		"own policy: done":       {pod: ownPolicy("Always", "OnFailure", "a"), view: viewOf(true, "a:ok"), phase: v1.PodSucceeded, ready: "False PodCompleted"},
		"own policy: always":     {pod: ownPolicy("Never", "Always", "a"), view: viewOf(true, "a:ok"), phase: v1.PodRunning, ready: "False ContainersNotReady"},
		"own rule":               {pod: ownPolicy("Never", "Never", "a", 42), view: viewOf(true, "a:42"), phase: v1.PodRunning, ready: "False ContainersNotReady"},
		"own rule, other code":   {pod: ownPolicy("Never", "Never", "a", 42), view: viewOf(true, "a:1"), phase: v1.PodFailed, ready: "False PodFailed"},
		"init with own policy":   {pod: ownPolicy("Always", "Never", "i", "a"), view: viewOf(true, "i:1"), phase: v1.PodFailed, ready: "False PodFailed"},
		"init failed, sidecar":   {pod: podOfNames("Never", "s", "i", "a"), view: viewOf(true, "s:run", "i:1"), phase: v1.PodPending, ready: "False PodFailed"},
		"app done, sidecar":      {pod: podOfNames("Never", "s", "a"), view: viewOf(true, "s:run", "a:ok"), phase: v1.PodRunning, ready: "False ContainersNotReady"},
		"init":                   {pod: podOfNames("Always", "i", "a"), view: viewOf(true, "i:run"), phase: v1.PodPending, ready: "False ContainersNotReady"},
		"init failed for good":   {pod: podOfNames("Never", "i", "a"), view: viewOf(true, "i:1"), phase: v1.PodFailed, ready: "False PodFailed"},
		"init failed, again":     {pod: podOfNames("Always", "i", "a"), view: viewOf(true, "i:1"), phase: v1.PodPending, ready: "False ContainersNotReady"},
		"crashed with Always":    {pod: podOfNames("Always", "a"), view: viewOf(true, "a:1"), phase: v1.PodRunning, ready: "False ContainersNotReady"},
		"failed with Never":      {pod: podOfNames("Never", "a"), view: viewOf(true, "a:1"), phase: v1.PodFailed, ready: "False PodFailed"},
		"succeeded":              {pod: podOfNames("Never", "a", "b"), view: viewOf(true, "a:ok", "b:ok"), phase: v1.PodSucceeded, ready: "False PodCompleted"},
		"failed with OnFailure":  {pod: podOfNames("OnFailure", "a"), view: viewOf(true, "a:1"), phase: v1.PodRunning, ready: "False ContainersNotReady"},
		"deleted after success":  {pod: podOfNames("Always", "a"), view: viewOf(false, "a:ok"), change: final, phase: v1.PodSucceeded, ready: "False PodCompleted"},
		"deleted, killed":        {pod: podOfNames("Always", "a"), view: viewOf(false, "a:137"), change: final, phase: v1.PodFailed, ready: "False PodFailed"},
		"deleted, never started": {pod: podOfNames("Always", "a"), change: final, phase: v1.PodFailed, ready: "False PodFailed"},
		"sidecar runs":           {pod: podOfNames("Always", "s", "a"), view: viewOf(true, "s:run", "a:run"), phase: v1.PodRunning, ready: "True "},
		"sidecar dead":           {pod: podOfNames("Always", "s", "a"), view: viewOf(true, "s:1", "a:run"), phase: v1.PodRunning, ready: "False ContainersNotReady"},
		"past its deadline": {
			pod: podOfNames("Always", "a"), view: viewOf(true, "a:run"),
			change: func(in *statusInput) { in.Termination = &termination{Phase: v1.PodFailed, Reason: "DeadlineExceeded"} },
			phase:  v1.PodRunning, ready: "False PodFailed",
		},
		"past its deadline, ended": {
			pod: podOfNames("Always", "a"), view: viewOf(true, "a:137"),
			change: func(in *statusInput) { in.Termination = &termination{Phase: v1.PodFailed, Reason: "DeadlineExceeded"} },
			phase:  v1.PodFailed, ready: "False PodFailed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := statusFor(c.pod, c.view, c.change)
			r := conditionOf(s, v1.PodReady)
			if s.Phase != c.phase || string(r.Status)+" "+r.Reason != c.ready {
				t.Errorf("phase %s, ready %s %s; want %s, %s", s.Phase, r.Status, r.Reason, c.phase, c.ready)
			}
			if r.LastTransitionTime.IsZero() || s.StartTime == nil || s.HostIP != "192.0.2.1" {
				t.Errorf("times or addresses are missing: %+v", s)
			}
		})
	}
}

// ownPolicy makes a pod whose first container has a policy of its own, and a rule
// that restarts it after the codes.
func ownPolicy(pods, own string, name string, more ...any) *v1.Pod {
	names := []string{name}
	var codes []int32
	for _, m := range more {
		switch m := m.(type) {
		case string:
			names = append(names, m)
		case int:
			codes = append(codes, int32(m))
		}
	}
	pod := podOfNames(v1.RestartPolicy(pods), names...)
	c := findContainer(pod, name)
	policy := v1.ContainerRestartPolicy(own)
	c.RestartPolicy = &policy
	if len(codes) > 0 {
		c.RestartPolicyRules = []v1.ContainerRestartRule{{
			Action:    v1.ContainerRestartRuleActionRestart,
			ExitCodes: &v1.ContainerRestartRuleOnExitCodes{Operator: v1.ContainerRestartRuleOnExitCodesOpIn, Values: codes},
		}}
	}
	return pod
}

// TestEndIsToldWhenNothingRuns: a pod that has to end holds what it has until then, also
// while the API server has not heard of the phase before.
func TestEndIsToldWhenNothingRuns(t *testing.T) {
	pod := podOfNames("Never", "a", "b")
	past := func(in *statusInput) { in.Termination = &termination{Phase: v1.PodFailed, Reason: "DeadlineExceeded"} }
	before := statusFor(pod, viewOf(true, "a:run", "b:run"), nil)
	s := statusFor(pod, viewOf(true, "a:143", "b:run"), func(in *statusInput) { past(in); in.Last = &before })
	if s.Phase != v1.PodRunning || s.Reason != "" || conditionOf(s, v1.PodReady).Status != v1.ConditionFalse {
		t.Errorf("while one runs: %s %s, %+v", s.Phase, s.Reason, conditionOf(s, v1.PodReady))
	}
	if s = statusFor(pod, viewOf(true, "a:143", "b:143"), func(in *statusInput) { past(in); in.Last = &s }); s.Phase != v1.PodFailed || s.Reason != "DeadlineExceeded" {
		t.Errorf("when none does: %s %s", s.Phase, s.Reason)
	}
}

// TestContainersNobodyKnowsOf: at a pod's end each container that was its turn has ended, and
// one that vanished while the pod goes on was running once.
func TestContainersNobodyKnowsOf(t *testing.T) {
	final := func(in *statusInput) { in.Final = true }
	for name, c := range map[string]struct {
		pod  *v1.Pod
		view view
		want string
	}{
		"never started":            {podOfNames("Always", "a"), viewOf(true), "a"},
		"one ran":                  {podOfNames("Always", "a", "b"), viewOf(true, "a:ok"), "b"},
		"init was not done":        {podOfNames("Always", "i1", "i2", "a"), viewOf(true, "i1:ok"), ""},
		"init was done":            {podOfNames("Always", "i1", "a"), viewOf(true, "i1:ok"), "a"},
		"no init container began":  {podOfNames("Always", "i1", "i2", "a"), viewOf(true), "i1"},
		"an init container before": {podOfNames("Always", "i1", "i2", "a"), viewOf(true, "i2:ok"), "i1 a"},
	} {
		s := statusFor(c.pod, c.view, final)
		var got []string
		for _, st := range append(s.InitContainerStatuses, s.ContainerStatuses...) {
			if e := st.State.Terminated; e != nil && e.Reason == "ContainerStatusUnknown" && e.ExitCode == 137 {
				got = append(got, st.Name)
			}
		}
		if strings.Join(got, " ") != c.want || s.Phase != v1.PodFailed {
			t.Errorf("%s: unknown are %q in phase %s, want %q", name, got, s.Phase, c.want)
		}
	}
	pod := podOfNames("Always", "a")
	before := statusFor(pod, viewOf(true, "a:run:2"), nil)
	s := statusFor(pod, viewOf(true), func(in *statusInput) { in.Last = &before })
	if c := s.ContainerStatuses[0]; s.Phase != v1.PodRunning || c.RestartCount != 3 || c.LastTerminationState.Terminated == nil {
		t.Errorf("vanished: %s, %+v", s.Phase, c)
	}
	if again := statusFor(pod, viewOf(true), func(in *statusInput) { in.Last = &s }); again.ContainerStatuses[0].RestartCount != 3 {
		t.Errorf("counted again: %+v", again.ContainerStatuses[0])
	}
}

// TestReadyWhileItRuns: an init container that is no sidecar is ready when it has succeeded, not before.
func TestReadyWhileItRuns(t *testing.T) {
	pod := podOfNames("Always", "i", "s", "a")
	pod.Spec.EphemeralContainers = []v1.EphemeralContainer{{EphemeralContainerCommon: v1.EphemeralContainerCommon{Name: "e"}}}
	for _, c := range []struct {
		records []string
		ready   string // names of ready containers
		waits   string // for which init containers
	}{
		{[]string{"i:run"}, "", "[i s]"},
		{[]string{"i:1", "i:run:1"}, "", "[i s]"},
		{[]string{"i:ok"}, "i", "[s]"},
		{[]string{"i:ok", "s:run", "a:run", "e:run"}, "i s a", ""},
	} {
		s := statusFor(pod, viewOf(true, c.records...), nil)
		var ready []string
		for _, all := range [][]v1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
			for i := range all {
				if all[i].Ready {
					ready = append(ready, all[i].Name)
				}
			}
		}
		if got := strings.Join(ready, " "); got != c.ready {
			t.Errorf("%v: ready are %q, want %q", c.records, got, c.ready)
		}
		want := ""
		if c.waits != "" {
			want = "containers with incomplete status: " + c.waits
		}
		if got := conditionOf(s, v1.PodInitialized).Message; got != want {
			t.Errorf("%v: initialized: %q, want %q", c.records, got, want)
		}
	}
}

func TestContainerStates(t *testing.T) {
	pod := podOfNames("Always", "a")
	crashing := func(in *statusInput) {
		in.Memory["a"] = containerMemory{Waiting: crashLoop(pod, "a", 20*time.Second)}
	}
	s := statusFor(pod, viewOf(true, "a:7:4"), crashing).ContainerStatuses[0]
	if s.State.Waiting == nil || s.State.Waiting.Reason != reasonCrashLoop || s.LastTerminationState.Terminated.ExitCode != 7 || s.RestartCount != 4 {
		t.Errorf("crash loop: %+v", s)
	}
	if want := "back-off 20s restarting failed container=a pod=p_default(u)"; s.State.Waiting.Message != want {
		t.Errorf("message %q, want %q", s.State.Waiting.Message, want)
	}
	s = statusFor(pod, viewOf(true, "a:1:0", "a:run:1"), nil).ContainerStatuses[0]
	if s.State.Running == nil || s.LastTerminationState.Terminated == nil || s.RestartCount != 1 || s.ContainerID != "skiff://id-a-1" || !s.Ready || !*s.Started {
		t.Errorf("restarted: %+v", s)
	}
	// One that is ended to start again, by a resize or with another image, is no success.
	pod.Spec.RestartPolicy = v1.RestartPolicyOnFailure
	for name, ending := range map[string]func(*statusInput){
		"resized": func(in *statusInput) { in.Memory["a"] = containerMemory{Resized: "id-a"} },
		"changed": func(in *statusInput) { in.View.latest("a").Hash = "another" },
	} {
		all := statusFor(pod, viewOf(true, "a:0"), ending)
		if s := all.ContainerStatuses[0]; all.Phase != v1.PodRunning || s.State.Waiting == nil || s.LastTerminationState.Terminated == nil {
			t.Errorf("%s: phase %s, %+v", name, all.Phase, s)
		}
	}
	s = statusFor(pod, viewOf(true, "a:0"), nil).ContainerStatuses[0]
	if s.State.Terminated == nil || s.State.Terminated.Reason != "Completed" {
		t.Errorf("completed: %+v", s)
	}
	for _, v := range []view{viewOf(true), viewOf(true, "i:new")} {
		status := statusFor(podOfNames("Always", "i", "a"), v, nil)
		for _, s := range append(status.InitContainerStatuses, status.ContainerStatuses...) {
			if s.State.Waiting == nil || s.State.Waiting.Reason != reasonInitializing {
				t.Errorf("initializing: %+v", s)
			}
		}
	}
	s = statusFor(pod, viewOf(true, "a:new"), nil).ContainerStatuses[0]
	if s.State.Waiting == nil || s.State.Waiting.Reason != reasonCreating {
		t.Errorf("creating: %+v", s)
	}
}

func TestReadinessNeedsProbes(t *testing.T) {
	pod := podOfNames("Always", "a")
	pod.Spec.Containers[0].ReadinessProbe = &v1.Probe{}
	pod.Spec.Containers[0].StartupProbe = &v1.Probe{}
	v := viewOf(true, "a:run")
	for _, c := range []struct {
		memory         containerMemory
		started, ready bool
	}{
		{containerMemory{}, false, false},
		{containerMemory{Started: "id-a"}, true, false},
		{containerMemory{Started: "id-a", Ready: "id-a"}, true, true},
		{containerMemory{Started: "another", Ready: "another"}, false, false},
	} {
		s := statusFor(pod, v, func(in *statusInput) { in.Memory["a"] = c.memory }).ContainerStatuses[0]
		if *s.Started != c.started || s.Ready != c.ready {
			t.Errorf("%+v: started %v, ready %v", c.memory, *s.Started, s.Ready)
		}
	}
}

func TestConditionTimesMoveOnlyWithTheStatus(t *testing.T) {
	pod := podOfNames("Always", "a")
	before := statusFor(pod, viewOf(true), nil)
	later := epoch.Add(time.Minute)
	after := statusFor(pod, viewOf(true, "a:run"), func(in *statusInput) { in.Now, in.Last = later, &before })
	if c := conditionOf(after, v1.PodReady); !c.LastTransitionTime.Time.Equal(later) {
		t.Errorf("Ready moved at %s", c.LastTransitionTime)
	}
	if c := conditionOf(after, v1.PodReadyToStartContainers); !c.LastTransitionTime.Time.Equal(epoch) {
		t.Errorf("PodReadyToStartContainers moved at %s", c.LastTransitionTime)
	}
	if !after.StartTime.Time.Equal(epoch) {
		t.Errorf("start time moved to %s", after.StartTime)
	}
}

// TestConditionsOfThisGeneration: also the one that the scheduler set, whose time stays.
func TestConditionsOfThisGeneration(t *testing.T) {
	pod := podOfNames("Always", "a")
	bound := epoch.Add(-time.Hour)
	pod.Generation = 2
	pod.Status.Conditions = []v1.PodCondition{
		{Type: v1.PodScheduled, Status: v1.ConditionTrue, ObservedGeneration: 1, LastTransitionTime: metav1.NewTime(bound)},
		{Type: "example.com/other", ObservedGeneration: 1},
	}
	s := statusFor(pod, viewOf(true, "a:run"), nil)
	for _, kind := range []v1.PodConditionType{v1.PodScheduled, v1.PodReadyToStartContainers, v1.PodInitialized, v1.ContainersReady, v1.PodReady} {
		if c := conditionOf(s, kind); c.ObservedGeneration != 2 || c.Status != v1.ConditionTrue {
			t.Errorf("%+v", c)
		}
	}
	if c := conditionOf(s, v1.PodScheduled); !c.LastTransitionTime.Time.Equal(bound) {
		t.Errorf("bound at %s", c.LastTransitionTime)
	}
	if c := conditionOf(s, "example.com/other"); c.ObservedGeneration != 1 {
		t.Errorf("another's condition: %+v", c)
	}
	api := pod.Status.DeepCopy()
	keepForeign(api, &s)
	if c := conditionOf(s, v1.PodScheduled); c.ObservedGeneration != 2 {
		t.Errorf("it is not written: %+v", c)
	}
}

func TestReadinessGates(t *testing.T) {
	pod := podOfNames("Always", "a")
	pod.Spec.ReadinessGates = []v1.PodReadinessGate{{ConditionType: "example.com/up"}}
	c := conditionOf(statusFor(pod, viewOf(true, "a:run"), nil), v1.PodReady)
	if c.Status != v1.ConditionFalse || c.Reason != reasonGatesNotReady {
		t.Errorf("without the gate: %+v", c)
	}
	pod.Spec.ReadinessGates = append(pod.Spec.ReadinessGates, v1.PodReadinessGate{ConditionType: "example.com/in"})
	pod.Status.Conditions = []v1.PodCondition{{Type: "example.com/in", Status: v1.ConditionFalse}}
	want := `corresponding condition of pod readiness gate "example.com/up" does not exist., the status of pod readiness gate "example.com/in" is not "True", but False`
	if c = conditionOf(statusFor(pod, viewOf(true, "a:run"), nil), v1.PodReady); c.Message != want {
		t.Errorf("message %q, want %q", c.Message, want)
	}
	pod.Spec.ReadinessGates = pod.Spec.ReadinessGates[:1]
	pod.Status.Conditions = []v1.PodCondition{{Type: "example.com/up", Status: v1.ConditionTrue}}
	s := statusFor(pod, viewOf(true, "a:run"), nil)
	if c = conditionOf(s, v1.PodReady); c.Status != v1.ConditionTrue {
		t.Errorf("with the gate: %+v", c)
	}
	if conditionOf(s, "example.com/up").Status != v1.ConditionTrue {
		t.Error("the gate's own condition was lost")
	}
}

// TestAddressOfAPodThatEnded is the one that it had, also when it was too quick
// for a status with its sandbox ready.
func TestAddressOfAPodThatEnded(t *testing.T) {
	for name, c := range map[string]struct{ policy, container, want string }{
		"succeeded":     {"Never", "a:ok", "10.0.0.9"},
		"failed":        {"Never", "a:1", "10.0.0.9"},
		"starts again":  {"Always", "a:1", ""},
		"starts anew":   {"OnFailure", "a:1", ""},
		"for good (ok)": {"OnFailure", "a:ok", "10.0.0.9"},
	} {
		v := viewOf(false, c.container)
		v.Sandboxes[0].IPs = []string{"10.0.0.9"}
		if s := statusFor(podOfNames(v1.RestartPolicy(c.policy), "a"), v, nil); s.PodIP != c.want {
			t.Errorf("%s: %q in phase %s, want %q", name, s.PodIP, s.Phase, c.want)
		}
	}
}

// TestFieldsOfContainerStatuses: what is known of a container before it starts, and the order.
func TestFieldsOfContainerStatuses(t *testing.T) {
	pod := podOfNames("Always", "b", "a")
	possible := v1.RecursiveReadOnlyIfPossible
	pod.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "v", MountPath: "/v", ReadOnly: true, RecursiveReadOnly: &possible}}
	pod.Spec.EphemeralContainers = []v1.EphemeralContainer{{EphemeralContainerCommon: v1.EphemeralContainerCommon{Name: "e"}}}
	s := statusFor(pod, viewOf(true, "a:run", "e:run"), nil)
	if s.ContainerStatuses[0].Name != "a" || s.ContainerStatuses[1].Name != "b" {
		t.Errorf("order: %s, %s", s.ContainerStatuses[0].Name, s.ContainerStatuses[1].Name)
	}
	if m := s.ContainerStatuses[1].VolumeMounts; len(m) != 1 || m[0].RecursiveReadOnly == nil || *m[0].RecursiveReadOnly != v1.RecursiveReadOnlyEnabled {
		t.Errorf("mounts: %+v", m)
	}
	if e := s.EphemeralContainerStatuses[0]; e.Started != nil || e.State.Running == nil {
		t.Errorf("ephemeral: %+v", e)
	}
}

// TestTerminationMessage: the end of what was left, and an equal share for each container of a pod.
func TestTerminationMessage(t *testing.T) {
	k := &Kubelet{deps: Deps{DataDir: t.TempDir()}}
	pod := podOfNames("Never", "a", "b", "c", "d")
	v := viewOf(true, "a:1", "b:1")
	path := k.messagePath("u", "a", 0)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("x", messageMax) + strings.Repeat("y", messageMax)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	said := func(name string) string {
		s := statusFor(pod, v, func(in *statusInput) { in.Message = k.terminationMessage })
		return statusOf(s.ContainerStatuses, name).State.Terminated.Message
	}
	if got := said("a"); got != strings.Repeat("y", messagePodMax/4) {
		t.Errorf("%d bytes, %.10q...", len(got), got)
	}
	v.latest("a").Message = "layer"
	if got := said("a"); len(got) != messagePodMax/4 || !strings.HasPrefix(got, "layer: yyy") {
		t.Errorf("%d bytes, %.10q...", len(got), got)
	}
	v.latest("b").Message = "layer"
	if got := said("b"); got != "layer" {
		t.Errorf("%q", got)
	}
}
