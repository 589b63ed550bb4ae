package deployment

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// step is what one run does. At most one of create and scale changes the number
// of pods on the way up; old ReplicaSets shrink in a run of their own.
type step struct {
	// create makes the ReplicaSet of the current template with this many replicas.
	create   bool
	replicas int32
	scale    []scaling
	prune    []*appsv1.ReplicaSet
	// rollout says that the run is part of a rollout, whose progress is judged;
	// not so while paused or only scaled.
	rollout bool
}

// scaling sets the replicas of one ReplicaSet, and the annotations that record
// the Deployment's size at that time.
type scaling struct {
	set *appsv1.ReplicaSet
	to  int32
}

// planStep decides the next step.
func planStep(d *appsv1.Deployment, o observation) step {
	switch {
	case d.DeletionTimestamp != nil:
		return step{}
	case d.Spec.Paused:
		return step{scale: proportional(d, o), prune: prunable(d, o.old)}
	case resized(d, o):
		return step{scale: proportional(d, o)}
	case d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
		return recreate(d, o)
	}
	return rolling(d, o)
}

// recreate takes all old pods away, waits until they have ended, and then
// starts the new ones.
func recreate(d *appsv1.Deployment, o observation) step {
	s := step{rollout: true}
	for _, set := range o.old {
		if asked(set) > 0 {
			s.scale = append(s.scale, scaling{set, 0})
		}
	}
	if len(s.scale) > 0 {
		return s
	}
	if sum(o.old, actual) > 0 || o.oldPods() {
		return s
	}
	switch {
	case o.current == nil:
		s.create, s.replicas = true, replicasOf(d)
	case asked(o.current) != replicasOf(d):
		s.scale = []scaling{{o.current, replicasOf(d)}}
	case complete(d, o):
		s.prune = prunable(d, o.old)
	}
	return s
}

func actual(set *appsv1.ReplicaSet) int32 { return set.Status.Replicas }

// rolling grows the new ReplicaSet as far as maxSurge allows; when it cannot
// grow, it shrinks the old ones as far as maxUnavailable allows.
func rolling(d *appsv1.Deployment, o observation) step {
	s := step{rollout: true}
	if o.current == nil {
		s.create, s.replicas = true, grown(d, o)
		return s
	}
	if to := grown(d, o); to != asked(o.current) {
		s.scale = []scaling{{o.current, to}}
		return s
	}
	if s.scale = shrunk(d, o); len(s.scale) > 0 {
		return s
	}
	if complete(d, o) {
		s.prune = prunable(d, o.old)
	}
	return s
}

// grown is how many replicas the new ReplicaSet may have now.
func grown(d *appsv1.Deployment, o observation) int32 {
	want, have := replicasOf(d), asked(o.current)
	if have >= want {
		return want
	}
	surge, _ := fenceposts(d)
	room := want + surge - sum(o.all(), asked)
	return have + max(0, min(room, want-have))
}

// shrunk scales old ReplicaSets down: first pods that are not available anyway,
// then available ones, oldest ReplicaSet first.
func shrunk(d *appsv1.Deployment, o observation) []scaling {
	if sum(o.old, asked) == 0 {
		return nil
	}
	_, unavailable := fenceposts(d)
	floor := replicasOf(d) - unavailable
	newUnavailable := asked(o.current) - available(o.current)
	budget := sum(o.all(), asked) - floor - newUnavailable
	if budget <= 0 {
		return nil
	}
	to := make([]int32, len(o.old))
	for i, set := range o.old {
		sick := min(budget, asked(set)-available(set))
		to[i] = asked(set) - sick
		budget -= sick
	}
	spare := min(budget, sum(o.all(), available)-floor)
	for i, set := range o.old {
		less := max(0, min(spare, to[i], available(set)))
		to[i] -= less
		spare -= less
	}
	var list []scaling
	for i, set := range o.old {
		if to[i] != asked(set) {
			list = append(list, scaling{set, to[i]})
		}
	}
	return list
}

// fenceposts resolves maxSurge (rounded up) and maxUnavailable (rounded down).
// Both zero would stop the rollout, so that unavailable becomes one then.
func fenceposts(d *appsv1.Deployment) (surge, unavailable int32) {
	r := d.Spec.Strategy.RollingUpdate
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType || r == nil {
		return 0, 0
	}
	resolve := func(v *intstr.IntOrString, up bool) int32 {
		if v == nil {
			return 0
		}
		n, err := intstr.GetScaledValueFromIntOrPercent(v, int(replicasOf(d)), up)
		if err != nil {
			return 0
		}
		return int32(n)
	}
	surge, unavailable = resolve(r.MaxSurge, true), resolve(r.MaxUnavailable, false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, min(unavailable, replicasOf(d))
}

// surgeOf is the maxSurge that ReplicaSets are annotated with.
func surgeOf(d *appsv1.Deployment) int32 {
	surge, _ := fenceposts(d)
	return surge
}

// complete reports whether the rollout is over and every pod is available.
func complete(d *appsv1.Deployment, o observation) bool {
	return o.current != nil && o.current.Status.Replicas == replicasOf(d) &&
		o.current.Status.AvailableReplicas == replicasOf(d) && sum(o.old, actual) == 0
}

// prunable are the old, empty ReplicaSets beyond the history limit, those of
// the lowest revisions first.
func prunable(d *appsv1.Deployment, old []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	if !hasHistoryLimit(d) {
		return nil
	}
	alive := slices.DeleteFunc(slices.Clone(old), func(set *appsv1.ReplicaSet) bool { return set.DeletionTimestamp != nil })
	surplus := len(alive) - int(*d.Spec.RevisionHistoryLimit)
	if surplus <= 0 {
		return nil
	}
	slices.SortStableFunc(alive, func(a, b *appsv1.ReplicaSet) int { return int(revisionOf(a) - revisionOf(b)) })
	var list []*appsv1.ReplicaSet
	for _, set := range alive[:surplus] {
		if set.Status.Replicas == 0 && asked(set) == 0 && set.Generation <= set.Status.ObservedGeneration {
			list = append(list, set)
		}
	}
	return list
}
