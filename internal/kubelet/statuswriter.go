package kubelet

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes"
)

// statusWriter writes pod statuses. Each pod has at most one write under way;
// statuses that come in meanwhile replace each other, so that a burst of changes
// costs two writes: one at once, one with the latest.
type statusWriter struct {
	client kubernetes.Interface
	log    *slog.Logger
	slots  chan struct{}

	mu   sync.Mutex
	pods map[types.UID]*statusEntry
}

// statusEntry is what is known of one pod's status.
type statusEntry struct {
	// api is the newest version of the pod that the API server gave us.
	api *v1.Pod
	// want is the status to write; nil: nothing to do.
	want *v1.PodStatus
	// gone: delete the object after the write.
	gone bool
	// ending: the pod was deleted when the status was made.
	ending bool
	busy   bool
	// later flushes a status that may settle first.
	later  *time.Timer
	closed bool
	fails  retry
}

// statusWriters bounds the writes at a time: enough to keep the API server
// busy, few enough to leave the processors to the pods.
const statusWriters = 16

func newStatusWriter(client kubernetes.Interface, log *slog.Logger) *statusWriter {
	return &statusWriter{client: client, log: log, slots: make(chan struct{}, statusWriters), pods: map[types.UID]*statusEntry{}}
}

// publish asks for a status to be written. gone: the pod has ended and its
// object is to be deleted after that.
func (s *statusWriter) publish(pod *v1.Pod, status v1.PodStatus, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entry(pod)
	if e == nil || e.closed {
		return
	}
	if !gone && !e.gone && e.want == nil && !e.busy && apiequality.Semantic.DeepEqual(e.api.Status, status) {
		return
	}
	status.Conditions = slices.Clone(status.Conditions) // the writer adds to them
	e.want, e.gone, e.ending = &status, e.gone || gone, pod.DeletionTimestamp != nil
	if !e.busy && !s.settles(e) {
		s.begin(e)
	}
}

// settles reports whether what is wanted may wait for what comes next, and sees to
// it that it does not wait for long; s.mu is held.
func (s *statusWriter) settles(e *statusEntry) bool {
	wait := passing(&e.api.Status, e.want, e.ending)
	if e.gone || wait == 0 {
		return false
	}
	if e.later == nil {
		e.later = time.AfterFunc(wait, func() { s.flush(e) })
	}
	return true
}

// begin starts a write; s.mu is held.
func (s *statusWriter) begin(e *statusEntry) {
	if e.later != nil {
		e.later.Stop()
		e.later = nil
	}
	e.busy = true
	go s.write(e)
}

// flush writes a status whose time to settle is over.
func (s *statusWriter) flush(e *statusEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.later = nil
	if !e.busy && !e.closed && e.want != nil {
		s.begin(e)
	}
}

// entry finds or makes the entry of a pod. A static pod's status belongs to its
// mirror: without a mirror there is nothing to write.
func (s *statusWriter) entry(pod *v1.Pod) *statusEntry {
	e := s.pods[pod.UID]
	if e == nil {
		if isStatic(pod) {
			return nil
		}
		e = &statusEntry{api: pod, fails: retry{first: 100 * time.Millisecond, limit: 10 * time.Second}}
		s.pods[pod.UID] = e
	}
	return e
}

// seen takes in a version of the pod from the API server. key is the worker's
// identifier: for a mirror pod that of its static pod.
func (s *statusWriter) seen(key types.UID, pod *v1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.pods[key]
	if e == nil || e.api.UID != pod.UID {
		s.pods[key] = &statusEntry{api: pod, fails: retry{first: 100 * time.Millisecond, limit: 10 * time.Second}}
		return
	}
	if newer(pod, e.api) {
		e.api = pod
	}
}

// newer compares resource versions, which etcd counts up (KEP-5504).
func newer(a, b *v1.Pod) bool {
	return len(a.ResourceVersion) > len(b.ResourceVersion) ||
		len(a.ResourceVersion) == len(b.ResourceVersion) && a.ResourceVersion > b.ResourceVersion
}

// forget drops a pod that is gone.
func (s *statusWriter) forget(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.pods[uid]; e != nil {
		e.closed = true
		delete(s.pods, uid)
	}
}

// write writes until nothing is wanted any more, or what is may wait.
func (s *statusWriter) write(e *statusEntry) {
	for {
		s.slots <- struct{}{}
		s.mu.Lock()
		want, gone, api := e.want, e.gone, e.api
		e.want = nil
		if want == nil || e.closed {
			e.busy = false
			s.mu.Unlock()
			<-s.slots
			return
		}
		s.mu.Unlock()
		err := s.patch(e, api, want)
		if err == nil && gone {
			err = s.delete(api)
		}
		<-s.slots
		if !s.done(e, want, err) {
			return
		}
	}
}

// done notes how a write went and reports whether the next one is due. What failed
// is wanted again after some time, if nothing newer is.
func (s *statusWriter) done(e *statusEntry, want *v1.PodStatus, err error) (next bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) && e.gone {
		e.fails.reset()
		e.busy = e.want != nil && !s.settles(e)
		return e.busy
	}
	s.log.Warn("writing pod status", "pod", podName(e.api), "err", err)
	if e.want == nil {
		e.want = want
	}
	time.AfterFunc(e.fails.next(), func() { s.write(e) })
	return false
}

// writeTimeout bounds one request: the API server may be stopping.
const writeTimeout = 30 * time.Second

// patch writes the difference between the status that the API server has and
// the one that is wanted. The identifier in it makes it fail for a successor of
// the same name.
func (s *statusWriter) patch(e *statusEntry, api *v1.Pod, want *v1.PodStatus) error {
	keepForeign(&api.Status, want)
	if apiequality.Semantic.DeepEqual(api.Status, *want) {
		return nil
	}
	data, err := statusPatch(api, want)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	got, err := s.client.CoreV1().Pods(api.Namespace).Patch(ctx, api.Name, types.StrategicMergePatchType, data, metav1.PatchOptions{}, "status")
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if newer(got, e.api) {
		e.api = got
	}
	return nil
}

// keepForeign carries over conditions that others wrote since the worker
// looked: a strategic patch made from both would else delete them.
func keepForeign(api, want *v1.PodStatus) {
	for _, c := range api.Conditions {
		found := false
		for i := range want.Conditions {
			if want.Conditions[i].Type != c.Type {
				continue
			}
			found = true
			if !ownCondition(c.Type) {
				want.Conditions[i] = c
			}
		}
		if !found && !ownCondition(c.Type) {
			want.Conditions = append(want.Conditions, c)
		}
	}
}

// ownCondition reports whether the node agent is the writer of a condition.
func ownCondition(t v1.PodConditionType) bool {
	switch t {
	case v1.PodScheduled, v1.PodReadyToStartContainers, v1.PodInitialized, v1.ContainersReady, v1.PodReady, v1.PodResizePending, v1.PodResizeInProgress:
		return true
	}
	return false
}

func statusPatch(api *v1.Pod, want *v1.PodStatus) ([]byte, error) {
	old, err := json.Marshal(v1.Pod{Status: api.Status})
	if err != nil {
		return nil, err
	}
	next := v1.Pod{Status: *want}
	next.UID = api.UID
	wanted, err := json.Marshal(next)
	if err != nil {
		return nil, err
	}
	return strategicpatch.CreateTwoWayMergePatch(old, wanted, v1.Pod{})
}

// delete removes the object of a pod that has ended, if it is still that pod.
func (s *statusWriter) delete(api *v1.Pod) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	now := int64(0)
	return s.client.CoreV1().Pods(api.Namespace).Delete(ctx, api.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(api.UID)),
	})
}
