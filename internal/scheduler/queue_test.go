package scheduler

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
)

func testQueue() (*queue, func() string) {
	var mu sync.Mutex
	locked := func(f func()) { mu.Lock(); defer mu.Unlock(); f() }
	q := newQueue(clock.RealClock{}, locked, func() {})
	return q, func() string {
		mu.Lock()
		defer mu.Unlock()
		if w := q.pop(); w != nil {
			return w.pod.Name
		}
		return ""
	}
}

func TestQueueOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, pop := testQueue()
		q.put(newPod("first"))
		time.Sleep(time.Millisecond)
		q.put(newPod("second"))
		q.put(newPod("important", prio(5)))
		q.put(newPod("gated", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}} }))
		for _, want := range []string{"important", "first", "second", ""} {
			if got := pop(); got != want {
				t.Errorf("popped %q, want %q", got, want)
			}
		}
		q.put(newPod("gated"))
		if got := pop(); got != "gated" {
			t.Errorf("popped %q after its gate was removed", got)
		}
	})
}

func TestParkedPodWakesOnlyForItsEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, pop := testQueue()
		q.put(newPod("p"))
		pop()
		w := q.pods["p"]
		q.park(w, podGone|nodeRoom)
		time.Sleep(time.Minute)
		q.tell(nodeLabels)
		if got := pop(); got != "" {
			t.Fatalf("woken by an event that cannot help")
		}
		q.tell(podGone)
		if got := pop(); got != "p" {
			t.Fatalf("not woken by an event that can")
		}
		// The second failure: the event comes during the cycle, so that the pod
		// tries again, after its delay and not before.
		q.tell(nodeRoom)
		q.park(w, podGone|nodeRoom)
		if got := pop(); got != "" {
			t.Fatalf("no delay")
		}
		time.Sleep(2*firstBackoff + time.Millisecond)
		synctest.Wait()
		if got := pop(); got != "p" {
			t.Fatalf("an event during the cycle was missed")
		}
		q.park(w, podGone)
		q.drop("p")
		q.tell(podGone)
		time.Sleep(time.Hour)
		if got := pop(); got != "" {
			t.Fatalf("popped a pod that is gone")
		}
	})
}

func TestBackoffIsBounded(t *testing.T) {
	for attempts, want := range map[int]time.Duration{1: firstBackoff, 2: 2 * firstBackoff, 5: 16 * firstBackoff, 9: lastBackoff, 100: lastBackoff} {
		if got := delayOf(attempts); got != want {
			t.Errorf("after %d attempts %s, want %s", attempts, got, want)
		}
	}
}
