package deployment

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/dump"
)

// observation is what a Deployment has.
type observation struct {
	// current is the ReplicaSet with the Deployment's template, or nil; old are
	// the others, oldest first.
	current *appsv1.ReplicaSet
	old     []*appsv1.ReplicaSet
	// oldPods tells whether pods of an old ReplicaSet have not ended yet.
	oldPods func() bool
}

func observe(d *appsv1.Deployment, sets []*appsv1.ReplicaSet, podsRemain func(*appsv1.ReplicaSet) bool) observation {
	slices.SortFunc(sets, older)
	var o observation
	for _, set := range sets {
		if o.current == nil && sameTemplate(&set.Spec.Template, &d.Spec.Template) {
			o.current = set
			continue
		}
		o.old = append(o.old, set)
	}
	o.oldPods = func() bool { return slices.ContainsFunc(o.old, podsRemain) }
	return o
}

// all returns every ReplicaSet, the current one last.
func (o *observation) all() []*appsv1.ReplicaSet {
	if o.current == nil {
		return o.old
	}
	return append(slices.Clone(o.old), o.current)
}

// replace puts a newer version of a ReplicaSet in its place.
func (o *observation) replace(set *appsv1.ReplicaSet) {
	if o.current != nil && o.current.UID == set.UID {
		o.current = set
	}
	for i := range o.old {
		if o.old[i].UID == set.UID {
			o.old[i] = set
		}
	}
}

// older orders by age, then by name.
func older(a, b *appsv1.ReplicaSet) int {
	return cmp.Or(a.CreationTimestamp.Time.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// sameTemplate compares templates without the hash label, which only a
// ReplicaSet's has.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	x, y := a.DeepCopy(), b.DeepCopy()
	delete(x.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	delete(y.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return equality.Semantic.DeepEqual(x, y)
}

// hashOf names a template; the collision count makes another name where two
// templates hash alike. The same hash as upstream's, so that a cluster that
// moves to skiff keeps its ReplicaSets' names.
func hashOf(template *corev1.PodTemplateSpec, collisions *int32) string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%v", dump.ForHash(*template))
	if collisions != nil {
		var count [8]byte
		binary.LittleEndian.PutUint32(count[:], uint32(*collisions))
		h.Write(count[:])
	}
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}

// asked is the number of replicas in a ReplicaSet's spec.
func asked(set *appsv1.ReplicaSet) int32 {
	if set == nil {
		return 0
	}
	if set.Spec.Replicas == nil {
		return 1
	}
	return *set.Spec.Replicas
}

// available is the number of available pods that the set is going to keep: its
// status may lag behind a scale down.
func available(set *appsv1.ReplicaSet) int32 {
	if set == nil {
		return 0
	}
	return min(set.Status.AvailableReplicas, asked(set))
}

func sum(sets []*appsv1.ReplicaSet, count func(*appsv1.ReplicaSet) int32) int32 {
	var total int32
	for _, set := range sets {
		total += count(set)
	}
	return total
}

// replicasOf is the number of replicas a Deployment asks for.
func replicasOf(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}
