package scheduler

import (
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
)

// TestResizedPodMakesRoom: a pod that shrinks holds what it had until its node says
// that it is smaller, and one that grows counts at once.
func TestResizedPodMakesRoom(t *testing.T) {
	s := &Scheduler{snapshot: newSnapshot()}
	s.wake = sync.NewCond(&s.mu)
	s.queue = newQueue(clock.RealClock{}, s.locked, func() {})
	s.snapshot.setNode(newNode("n", "4", "4Gi", 10))
	placed := func(cpu, has string, generation int64) *corev1.Pod {
		p := newPod("big", wants(cpu, "1Gi"))
		p.Spec.NodeName, p.Generation = "n", generation
		list := newPod("", wants(has, "1Gi")).Spec.Containers[0].Resources
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", Resources: &list, AllocatedResources: list.Requests}}
		return p
	}
	used := func() int64 { return s.snapshot.at("n").used.cpu }
	before := placed("3", "3", 1)
	s.podChanged(nil, before)
	s.queue.put(newPod("waits", wants("2", "1Gi")))
	s.queue.park(s.queue.pop(), podGone)
	s.queue.pods["waits"].until = time.Time{} // it has waited long enough

	asked := placed("1", "3", 2)
	s.podChanged(before, asked)
	if w := s.queue.pop(); w != nil || used() != 3000 {
		t.Errorf("before the node has done it: %v woken, %d used", w, used())
	}
	done := placed("1", "1", 2)
	s.podChanged(asked, done)
	if w := s.queue.pop(); w == nil || used() != 1000 {
		t.Errorf("after it: %v woken, %d used", w, used())
	}
	s.podChanged(done, placed("2", "1", 3))
	if used() != 2000 {
		t.Errorf("a pod that grows uses %d", used())
	}
}
