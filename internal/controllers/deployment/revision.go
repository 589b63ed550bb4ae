package deployment

import (
	"math"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// Revisions number the templates of a Deployment, on the ReplicaSet that holds
// the template and on the Deployment itself. `kubectl rollout undo` copies an
// old ReplicaSet's template into the Deployment; that ReplicaSet then becomes
// the current one again and gets the next number.
const (
	revisionAnnotation = "deployment.kubernetes.io/revision"
	historyAnnotation  = "deployment.kubernetes.io/revision-history"
	// historyLength bounds the annotation of past numbers, in characters.
	historyLength = 2000
)

// notInherited are the Deployment's annotations that its ReplicaSets do not get.
var notInherited = []string{
	corev1.LastAppliedConfigAnnotation, revisionAnnotation, historyAnnotation,
	desiredAnnotation, maxAnnotation, appsv1.DeprecatedRollbackTo,
}

func revisionOf(set *appsv1.ReplicaSet) int64 {
	n, err := strconv.ParseInt(set.Annotations[revisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// nextRevision is one more than the highest among the old ReplicaSets.
func nextRevision(old []*appsv1.ReplicaSet) int64 {
	var highest int64
	for _, set := range old {
		highest = max(highest, revisionOf(set))
	}
	return highest + 1
}

// annotateCurrent gives the current ReplicaSet the Deployment's annotations and
// at least the revision, and reports a change.
func annotateCurrent(set *appsv1.ReplicaSet, d *appsv1.Deployment, revision int64, fresh bool) bool {
	if set.Annotations == nil {
		set.Annotations = map[string]string{}
	}
	changed := inherit(set.Annotations, d.Annotations)
	before, had := set.Annotations[revisionAnnotation]
	if old := revisionOf(set); old < revision {
		set.Annotations[revisionAnnotation] = strconv.FormatInt(revision, 10)
		changed = true
		if had {
			set.Annotations[historyAnnotation] = history(set.Annotations[historyAnnotation], before)
		}
	}
	if fresh && annotateSize(set, d) {
		changed = true
	}
	return changed
}

func inherit(to, from map[string]string) bool {
	changed := false
	for k, v := range from {
		if skipped(k) {
			continue
		}
		if have, ok := to[k]; !ok || have != v {
			to[k] = v
			changed = true
		}
	}
	return changed
}

func skipped(key string) bool {
	return slices.Contains(notInherited, key)
}

// history appends a past revision and drops the oldest beyond the length.
func history(past, revision string) string {
	if past == "" {
		return revision
	}
	list := append(strings.Split(past, ","), revision)
	for len(list) > 1 && len(strings.Join(list, ",")) > historyLength {
		list = list[1:]
	}
	return strings.Join(list, ",")
}

func hasHistoryLimit(d *appsv1.Deployment) bool {
	return d.Spec.RevisionHistoryLimit != nil && *d.Spec.RevisionHistoryLimit != math.MaxInt32
}

func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != math.MaxInt32
}
