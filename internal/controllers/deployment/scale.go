package deployment

import (
	"math"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
)

// The annotations by which a ReplicaSet remembers the size of its Deployment
// when it was last scaled; as upstream, whose kubectl reads them.
const (
	desiredAnnotation = "deployment.kubernetes.io/desired-replicas"
	maxAnnotation     = "deployment.kubernetes.io/max-replicas"
)

// resized reports whether the Deployment's size changed since its running
// ReplicaSets were last scaled.
func resized(d *appsv1.Deployment, o observation) bool {
	for _, set := range running(o.all()) {
		desired, ok := number(set, desiredAnnotation)
		if ok && desired != replicasOf(d) {
			return true
		}
	}
	return false
}

// proportional spreads a change of size over the running ReplicaSets, in
// proportion to their sizes, so that a rollout in progress keeps its risk.
func proportional(d *appsv1.Deployment, o observation) []scaling {
	want := replicasOf(d)
	if only := activeOrLatest(o); only != nil {
		if asked(only) == want {
			return nil
		}
		return []scaling{{only, want}}
	}
	if saturated(d, o.current) {
		var list []scaling
		for _, set := range running(o.old) {
			list = append(list, scaling{set, 0})
		}
		return list
	}
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType {
		return nil
	}
	return spread(d, running(o.all()))
}

// spread resizes several running ReplicaSets. All are listed, also those whose
// size stays, so that their annotations learn the new size.
func spread(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) []scaling {
	allowed := int32(0)
	if replicasOf(d) > 0 {
		allowed = replicasOf(d) + surgeOf(d)
	}
	change := allowed - sum(sets, asked)
	slices.SortStableFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		if asked(a) != asked(b) {
			return int(asked(b) - asked(a))
		}
		if change < 0 {
			return older(a, b)
		}
		return older(b, a)
	})
	list := make([]scaling, len(sets))
	added := int32(0)
	for i, set := range sets {
		part := share(d, set, change, added)
		list[i] = scaling{set, asked(set) + part}
		added += part
	}
	// What rounding left over goes to the largest that can take it.
	for i, left := 0, change-added; i < len(list) && left != 0; i++ {
		to := max(0, list[i].to+left)
		left -= to - list[i].to
		list[i].to = to
	}
	return list
}

// share is the set's part of the change, never more than what is left of it.
func share(d *appsv1.Deployment, set *appsv1.ReplicaSet, change, added int32) int32 {
	if asked(set) == 0 || change == 0 || change == added {
		return 0
	}
	part := fraction(d, set)
	if change > 0 {
		return min(part, change-added)
	}
	return max(part, change-added)
}

// fraction is by how much the set would change if it kept its proportion.
func fraction(d *appsv1.Deployment, set *appsv1.ReplicaSet) int32 {
	if replicasOf(d) == 0 {
		return -asked(set)
	}
	before, ok := number(set, maxAnnotation)
	if !ok || before == 0 {
		before = d.Status.Replicas
	}
	if before == 0 {
		return 0
	}
	size := float64(asked(set)) * float64(replicasOf(d)+surgeOf(d)) / float64(before)
	return int32(math.Round(size)) - asked(set)
}

// activeOrLatest is the one ReplicaSet to scale where there is no choice: the
// only running one, or with none running the current or else the newest.
func activeOrLatest(o observation) *appsv1.ReplicaSet {
	switch active := running(o.all()); {
	case len(active) == 1:
		return active[0]
	case len(active) > 1:
		return nil
	case o.current != nil:
		return o.current
	case len(o.old) > 0:
		return o.old[len(o.old)-1]
	}
	return nil
}

// saturated reports whether the set alone holds what the Deployment wants.
func saturated(d *appsv1.Deployment, set *appsv1.ReplicaSet) bool {
	if set == nil {
		return false
	}
	desired, ok := number(set, desiredAnnotation)
	return ok && desired == replicasOf(d) && asked(set) == desired && set.Status.AvailableReplicas == desired
}

func running(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	var list []*appsv1.ReplicaSet
	for _, set := range sets {
		if asked(set) > 0 {
			list = append(list, set)
		}
	}
	return list
}

func number(set *appsv1.ReplicaSet, annotation string) (int32, bool) {
	n, err := strconv.ParseInt(set.Annotations[annotation], 10, 32)
	return int32(n), err == nil
}

// annotateSize records the Deployment's size on the set and reports a change.
func annotateSize(set *appsv1.ReplicaSet, d *appsv1.Deployment) bool {
	desired := strconv.Itoa(int(replicasOf(d)))
	most := strconv.Itoa(int(replicasOf(d) + surgeOf(d)))
	if set.Annotations[desiredAnnotation] == desired && set.Annotations[maxAnnotation] == most {
		return false
	}
	if set.Annotations == nil {
		set.Annotations = map[string]string{}
	}
	set.Annotations[desiredAnnotation], set.Annotations[maxAnnotation] = desired, most
	return true
}
