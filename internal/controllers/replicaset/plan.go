package replicaset

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"go.skiff.dev/skiff/internal/controllers/podstate"
)

// plan is what one run does: it creates or deletes, never both.
type plan struct {
	create int
	delete []*corev1.Pod
}

// planReplicas compares what is asked for with the active pods. ranks (how
// crowded a pod's node is) may be nil where nothing is to be deleted.
func planReplicas(set *appsv1.ReplicaSet, active []*corev1.Pod, ranks []int, now time.Time) plan {
	surplus := len(active) - int(replicasOf(set))
	switch {
	case surplus < 0:
		return plan{create: min(-surplus, burst)}
	case surplus > 0:
		return plan{delete: victims(active, ranks, min(surplus, burst), now)}
	}
	return plan{}
}

// victims picks the count pods whose loss hurts least, in upstream's order:
// not yet assigned before assigned, pending before running, not ready before
// ready, lower controller.kubernetes.io/pod-deletion-cost first (KEP-2255),
// crowded nodes first, shorter ready first, more restarts first, younger
// first. Ages are compared by their power of two (KEP-2185), so that among
// pods of about the same age the choice is spread by uid.
func victims(active []*corev1.Pod, ranks []int, count int, now time.Time) []*corev1.Pod {
	if count >= len(active) {
		return active
	}
	order := make([]candidate, len(active))
	for i, pod := range active {
		order[i] = newCandidate(pod, now)
		if ranks != nil {
			order[i].crowd = ranks[i]
		}
	}
	slices.SortFunc(order, compare)
	picked := make([]*corev1.Pod, count)
	for i := range picked {
		picked[i] = order[i].pod
	}
	return picked
}

// candidate is a pod with everything that ranks it.
type candidate struct {
	pod                          *corev1.Pod
	assigned, ready              bool
	phase                        int
	cost                         int64
	crowd                        int
	readyAge, age                int64
	restarts, restartsOfSidecars int32
}

func newCandidate(pod *corev1.Pod, now time.Time) candidate {
	c := candidate{pod: pod, assigned: pod.Spec.NodeName != "", phase: phaseRank(pod.Status.Phase), cost: deletionCost(pod)}
	c.ready = podstate.Ready(pod)
	if c.ready {
		c.readyAge = logAge(now, podstate.Condition(pod, corev1.PodReady).LastTransitionTime.Time)
	}
	c.age = logAge(now, pod.CreationTimestamp.Time)
	c.restarts, c.restartsOfSidecars = restarts(pod)
	return c
}

// compare is negative where a is deleted before b.
func compare(a, b candidate) int {
	return cmp.Or(
		compareBool(a.assigned, b.assigned),
		cmp.Compare(a.phase, b.phase),
		compareBool(a.ready, b.ready),
		cmp.Compare(a.cost, b.cost),
		cmp.Compare(b.crowd, a.crowd),
		compareAge(a.readyAge, b.readyAge),
		cmp.Compare(b.restarts, a.restarts),
		cmp.Compare(b.restartsOfSidecars, a.restartsOfSidecars),
		compareAge(a.age, b.age),
		strings.Compare(string(a.pod.UID), string(b.pod.UID)),
	)
}

// compareBool puts false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// compareAge puts the younger before the older; an unknown time (-1) is the youngest.
func compareAge(a, b int64) int { return cmp.Compare(a, b) }

func logAge(now, then time.Time) int64 {
	if then.IsZero() {
		return -1
	}
	age := now.Sub(then)
	if age <= 0 {
		return 0
	}
	return int64(math.Log2(float64(age)))
}

func phaseRank(phase corev1.PodPhase) int {
	switch phase {
	case corev1.PodRunning:
		return 2
	case corev1.PodUnknown:
		return 1
	}
	return 0
}

// deletionCost is the pod's wish; an unreadable one counts as none.
func deletionCost(pod *corev1.Pod) int64 {
	cost, err := strconv.ParseInt(pod.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return cost
}

// restarts counts the most restarted container and the most restarted sidecar.
func restarts(pod *corev1.Pod) (containers, sidecars int32) {
	always := map[string]bool{}
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			always[c.Name] = true
		}
	}
	for _, s := range pod.Status.InitContainerStatuses {
		if always[s.Name] {
			sidecars = max(sidecars, s.RestartCount)
		}
	}
	for _, s := range pod.Status.ContainerStatuses {
		containers = max(containers, s.RestartCount)
	}
	return containers, sidecars
}
