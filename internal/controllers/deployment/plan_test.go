package deployment

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func deploymentOf(replicas int32, surge, unavailable string) *appsv1.Deployment {
	s, u := intstr.Parse(surge), intstr.Parse(unavailable)
	limit := int32(10)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "d", UID: "d"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, RevisionHistoryLimit: &limit,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &s, MaxUnavailable: &u},
			},
		},
	}
}

// setOf builds a set with asked, existing and available pods.
func setOf(name string, age int, asked, actual, available int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID(name), CreationTimestamp: metav1.Unix(int64(age), 0),
			Annotations: map[string]string{revisionAnnotation: fmt.Sprint(age)},
		},
		Spec:   appsv1.ReplicaSetSpec{Replicas: &asked},
		Status: appsv1.ReplicaSetStatus{Replicas: actual, AvailableReplicas: available},
	}
}

func noPods() bool { return false }

func show(s step) string {
	text := ""
	if s.create {
		text += fmt.Sprintf("create %d;", s.replicas)
	}
	for _, x := range s.scale {
		text += fmt.Sprintf("%s %d->%d;", x.set.Name, asked(x.set), x.to)
	}
	for _, x := range s.prune {
		text += "prune " + x.Name + ";"
	}
	return text
}

func TestPlanStep(t *testing.T) {
	recreating := deploymentOf(3, "1", "1")
	recreating.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
	paused := deploymentOf(5, "1", "1")
	paused.Spec.Paused = true
	short := deploymentOf(3, "25%", "25%")
	short.Spec.RevisionHistoryLimit = new(int32)
	cases := []struct {
		name string
		d    *appsv1.Deployment
		o    observation
		want string
	}{
		{"first", deploymentOf(3, "25%", "25%"), observation{}, "create 3;"},
		{"surge first", deploymentOf(4, "25%", "25%"), observation{old: sets(setOf("old", 1, 4, 4, 4))}, "create 1;"},
		{"new one grows into the room", deploymentOf(4, "25%", "0"),
			observation{current: setOf("new", 2, 1, 1, 1), old: sets(setOf("old", 1, 3, 3, 3))}, "new 1->2;"},
		{"old shrinks when the new is available", deploymentOf(4, "1", "0"),
			observation{current: setOf("new", 2, 1, 1, 1), old: sets(setOf("old", 1, 4, 4, 4))}, "old 4->3;"},
		{"nothing while the new is not available", deploymentOf(4, "1", "0"),
			observation{current: setOf("new", 2, 1, 1, 0), old: sets(setOf("old", 1, 4, 4, 4))}, ""},
		{"unavailable old pods go first", deploymentOf(4, "1", "1"),
			observation{current: setOf("new", 3, 1, 1, 0), old: sets(setOf("older", 1, 2, 2, 2), setOf("sick", 2, 2, 2, 1))}, "sick 2->1;"},
		{"a lagging status is not counted twice", deploymentOf(4, "0", "1"),
			observation{current: setOf("new", 2, 1, 1, 0), old: sets(setOf("old", 1, 3, 4, 4))}, ""},
		{"both zero means one unavailable", deploymentOf(4, "0", "0"),
			observation{current: setOf("new", 2, 0, 0, 0), old: sets(setOf("old", 1, 4, 4, 4))}, "old 4->3;"},
		{"history", short, observation{current: setOf("new", 3, 3, 3, 3), old: sets(setOf("v2", 2, 0, 0, 0), setOf("v1", 1, 0, 0, 0))}, "prune v1;prune v2;"},
		{"recreate: old away", recreating, observation{old: sets(setOf("old", 1, 3, 3, 3)), oldPods: noPods}, "old 3->0;"},
		{"recreate: wait", recreating, observation{old: sets(setOf("old", 1, 0, 1, 0)), oldPods: noPods}, ""},
		{"recreate: wait for terminating pods", recreating, observation{old: sets(setOf("old", 1, 0, 0, 0)), oldPods: func() bool { return true }}, ""},
		{"recreate: new", recreating, observation{old: sets(setOf("old", 1, 0, 0, 0)), oldPods: noPods}, "create 3;"},
		{"paused: no rollout", paused, observation{old: sets(setOf("old", 1, 5, 5, 5))}, ""},
		{"paused: scales", paused, observation{old: sets(setOf("old", 1, 3, 3, 3))}, "old 3->5;"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := show(planStep(c.d, c.o)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func sets(list ...*appsv1.ReplicaSet) []*appsv1.ReplicaSet { return list }

func TestProportionalScaling(t *testing.T) {
	// Upstream's documented example: 10 replicas, maxSurge 3, stuck at 8 + 5,
	// scaled to 15: 11 + 7.
	d := deploymentOf(15, "3", "2")
	old, now := setOf("old", 1, 8, 8, 8), setOf("new", 2, 5, 5, 0)
	for _, set := range []*appsv1.ReplicaSet{old, now} {
		set.Annotations[desiredAnnotation], set.Annotations[maxAnnotation] = "10", "13"
	}
	if got, want := show(planStep(d, observation{current: now, old: sets(old)})), "old 8->11;new 5->7;"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	d = deploymentOf(0, "3", "2")
	if got, want := show(planStep(d, observation{current: now, old: sets(old)})), "old 8->0;new 5->0;"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// world plays the ReplicaSet controller and the nodes at random speed.
type world struct {
	sets    []*appsv1.ReplicaSet
	current string
	births  int
}

func (w *world) observation() observation {
	var o observation
	for _, set := range w.sets {
		if set.Name == w.current {
			o.current = set.DeepCopy()
			continue
		}
		o.old = append(o.old, set.DeepCopy())
	}
	o.oldPods = func() bool { return false }
	return o
}

func (w *world) apply(d *appsv1.Deployment, s step) {
	if s.create {
		w.births++
		set := setOf(w.current, w.births, s.replicas, 0, 0)
		annotateSize(set, d)
		w.sets = append(w.sets, set)
	}
	for _, x := range s.scale {
		for _, set := range w.sets {
			if set.Name == x.set.Name {
				to := x.to
				set.Spec.Replicas = &to
				annotateSize(set, d)
			}
		}
	}
}

// move lets one ReplicaSet follow its size, or one pod become or cease to be
// available. The controller deletes unavailable pods before available ones.
func (w *world) move(r *rand.Rand, mayFail bool) {
	if len(w.sets) == 0 {
		return
	}
	set := w.sets[r.IntN(len(w.sets))]
	switch r.IntN(3) {
	case 0:
		set.Status.Replicas = asked(set)
		set.Status.AvailableReplicas = min(set.Status.AvailableReplicas, asked(set))
	case 1:
		if set.Status.AvailableReplicas < set.Status.Replicas {
			set.Status.AvailableReplicas++
		}
	case 2:
		if mayFail && set.Status.AvailableReplicas > 0 && r.IntN(4) == 0 {
			set.Status.AvailableReplicas--
		}
	}
}

// TestRollingKeepsItsBounds rolls over random templates, sizes and speeds. In
// every state: no more pods are asked for than replicas+maxSurge, and a step
// never takes available pods below replicas-maxUnavailable.
func TestRollingKeepsItsBounds(t *testing.T) {
	values := []string{"0", "1", "2", "25%", "50%", "100%"}
	for seed := range uint64(800) {
		r := rand.New(rand.NewPCG(seed, 1))
		d := deploymentOf(int32(r.IntN(12)), values[r.IntN(len(values))], values[r.IntN(len(values))])
		surge, unavailable := fenceposts(d)
		w := &world{current: "v0"}
		for turn := range 300 {
			if turn%60 == 59 {
				w.current = fmt.Sprintf("v%d", r.IntN(4))
			}
			s := planStep(d, w.observation())
			before := willStay(w.sets)
			w.apply(d, s)
			after := willStay(w.sets)
			if total := sum(w.sets, asked); total > replicasOf(d)+surge {
				t.Fatalf("seed %d turn %d: %d pods asked for, at most %d+%d allowed (%s)", seed, turn, total, replicasOf(d), surge, show(s))
			}
			if floor := replicasOf(d) - unavailable; after < before && after < floor {
				t.Fatalf("seed %d turn %d: available pods fall from %d to %d, floor %d (%s)", seed, turn, before, after, floor, show(s))
			}
			w.move(r, turn < 200)
		}
		settle(t, seed, d, w)
	}
}

// willStay counts available pods that survive the sizes asked for.
func willStay(sets []*appsv1.ReplicaSet) int32 { return sum(sets, available) }

// settle checks that in a healthy world every rollout ends.
func settle(t *testing.T, seed uint64, d *appsv1.Deployment, w *world) {
	t.Helper()
	for range 200 {
		o := w.observation()
		s := planStep(d, o)
		w.apply(d, s)
		for _, set := range w.sets {
			set.Status.Replicas, set.Status.AvailableReplicas = asked(set), asked(set)
		}
		if o = w.observation(); complete(d, o) && !s.create && len(s.scale) == 0 {
			return
		}
	}
	t.Fatalf("seed %d: the rollout does not end", seed)
}

// TestScalingKeepsTheTotal resizes random rollouts in progress.
func TestScalingKeepsTheTotal(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 2))
		d := deploymentOf(int32(1+r.IntN(50)), fmt.Sprint(r.IntN(5)), "1")
		var o observation
		before := replicasOf(d)
		for i := range 2 + r.IntN(3) {
			set := setOf(fmt.Sprint("s", i), i, int32(1+r.IntN(20)), 1, 0)
			annotateSize(set, d)
			o.old = append(o.old, set)
		}
		size := int32(r.IntN(80))
		d.Spec.Replicas = &size
		if size == before {
			continue
		}
		total := int32(0)
		for _, s := range planStep(d, o).scale {
			if s.to < 0 {
				t.Fatalf("seed %d: a size of %d", seed, s.to)
			}
			total += s.to
		}
		want := size + surgeOf(d)
		if size == 0 {
			want = 0
		}
		if total != want {
			t.Fatalf("seed %d: %d in all, want %d", seed, total, want)
		}
	}
}

func TestStatusConditions(t *testing.T) {
	now := time.Unix(1000, 0)
	d := deploymentOf(2, "1", "0")
	seconds := int32(600)
	d.Spec.ProgressDeadlineSeconds = &seconds
	o := observation{current: setOf("d-1", 1, 2, 2, 0)}
	reason := func() string {
		before := d.Status.DeepCopy()
		s := statusOf(d, o, now)
		judge(d, before, &s, o, now)
		d.Status = s
		available, progressing := condition(s.Conditions, appsv1.DeploymentAvailable), condition(s.Conditions, appsv1.DeploymentProgressing)
		text := fmt.Sprintf("%s/%s", available.Status, available.Reason)
		if progressing != nil {
			text += fmt.Sprintf(" %s/%s", progressing.Status, progressing.Reason)
		}
		return text
	}
	expect := func(want string) {
		t.Helper()
		if got := reason(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	expect("False/MinimumReplicasUnavailable True/ReplicaSetUpdated")
	if wait := deadlineIn(d, &d.Status, now); wait != 601*time.Second {
		t.Errorf("looks again in %s", wait)
	}
	now = now.Add(601 * time.Second)
	expect("False/MinimumReplicasUnavailable False/ProgressDeadlineExceeded")
	o.current.Status.AvailableReplicas = 1
	expect("False/MinimumReplicasUnavailable True/ReplicaSetUpdated")
	o.current.Status.AvailableReplicas = 2
	expect("True/MinimumReplicasAvailable True/NewReplicaSetAvailable")
	if wait := deadlineIn(d, &d.Status, now); wait != 0 {
		t.Errorf("looks again in %s after the end", wait)
	}
	o.current.Status.Conditions = []appsv1.ReplicaSetCondition{{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate"}}
	reason()
	if c := condition(d.Status.Conditions, appsv1.DeploymentReplicaFailure); c == nil || c.Reason != "FailedCreate" {
		t.Errorf("replica failure is %v", c)
	}
}

func TestPauseIsNoted(t *testing.T) {
	d := deploymentOf(2, "1", "0")
	seconds := int32(600)
	d.Spec.ProgressDeadlineSeconds = &seconds
	d.Spec.Paused = true
	notePause(d, time.Unix(0, 0))
	if c := condition(d.Status.Conditions, appsv1.DeploymentProgressing); c == nil || c.Reason != reasonPaused {
		t.Errorf("condition %v", c)
	}
	d.Spec.Paused = false
	notePause(d, time.Unix(0, 0))
	if c := condition(d.Status.Conditions, appsv1.DeploymentProgressing); c == nil || c.Reason != reasonResumed {
		t.Errorf("condition %v", c)
	}
}

func TestRevisions(t *testing.T) {
	d := deploymentOf(1, "1", "0")
	d.Annotations = map[string]string{"own": "x", corev1.LastAppliedConfigAnnotation: "{}"}
	set := setOf("s", 2, 1, 1, 1)
	if !annotateCurrent(set, d, 5, false) || set.Annotations[revisionAnnotation] != "5" || set.Annotations[historyAnnotation] != "2" {
		t.Errorf("annotations %v", set.Annotations)
	}
	if set.Annotations["own"] != "x" || set.Annotations[corev1.LastAppliedConfigAnnotation] != "" {
		t.Errorf("inherited %v", set.Annotations)
	}
	if annotateCurrent(set, d, 5, false) {
		t.Error("changed twice")
	}
	if got := history("1,3", "7"); got != "1,3,7" {
		t.Errorf("history %q", got)
	}
}
