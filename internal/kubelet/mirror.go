package kubelet

import (
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// mirror makes the mirror pod of a static pod.
func (s *staticPods) mirror(pod *v1.Pod) {
	want := pod.DeepCopy()
	want.UID, want.ResourceVersion = "", ""
	want.Annotations[v1.MirrorPodAnnotationKey] = string(pod.UID)
	if node := s.k.capacity.node(); node != nil {
		yes := true
		want.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID, Controller: &yes}}
	}
	pods := s.k.deps.Client.CoreV1().Pods(pod.Namespace)
	again := retry{first: 200 * time.Millisecond, limit: 30 * time.Second}
	for s.wanted(pod.UID) && s.k.ctx.Err() == nil {
		_, err := pods.Create(s.k.ctx, want, metav1.CreateOptions{})
		if err == nil {
			return
		}
		if apierrors.IsAlreadyExists(err) {
			if s.clearName(pod) {
				return
			}
		} else {
			s.k.log.Warn("making mirror pod", "pod", podName(pod), "err", err)
		}
		select {
		case <-time.After(again.next()):
		case <-s.k.ctx.Done():
		}
	}
}

// clearName looks at the object that has the mirror's name. It reports whether
// that is the right mirror; a mirror of an older file is deleted.
func (s *staticPods) clearName(pod *v1.Pod) bool {
	have, err := s.k.deps.Client.CoreV1().Pods(pod.Namespace).Get(s.k.ctx, pod.Name, metav1.GetOptions{})
	if err != nil {
		return false
	}
	of, isMirror := have.Annotations[v1.MirrorPodAnnotationKey]
	if isMirror && of == string(pod.UID) && have.DeletionTimestamp == nil {
		return true
	}
	if isMirror {
		s.deleteMirror(have)
	}
	return false
}

func (s *staticPods) wanted(uid types.UID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pod := range s.files {
		if pod.UID == uid {
			return true
		}
	}
	return false
}

// behind is the static pod behind a mirror pod, or nil. It carries the mirror's
// status.
func (s *staticPods) behind(mirror *v1.Pod) *v1.Pod {
	uid, ok := mirror.Annotations[v1.MirrorPodAnnotationKey]
	if !ok {
		return nil
	}
	pod := mirror.DeepCopy()
	pod.UID = types.UID(uid)
	return pod
}

// mirrorSeen takes in a mirror pod: statuses go to it. One that is being deleted,
// or whose static pod is gone, is taken away; the pod itself does not notice.
func (s *staticPods) mirrorSeen(mirror *v1.Pod) {
	uid := types.UID(mirror.Annotations[v1.MirrorPodAnnotationKey])
	if mirror.DeletionTimestamp != nil || !s.wanted(uid) {
		go s.deleteMirror(mirror)
		return
	}
	s.mu.Lock()
	s.mirrors[uid] = mirror
	s.mu.Unlock()
	s.k.statuses.seen(uid, mirror)
	if w := s.k.worker(uid); w != nil {
		w.tell(func(*inbox) {})
	}
}

func (s *staticPods) mirrorGone(mirror *v1.Pod) {
	uid := types.UID(mirror.Annotations[v1.MirrorPodAnnotationKey])
	s.mu.Lock()
	delete(s.mirrors, uid)
	var pod *v1.Pod
	for _, p := range s.files {
		if p.UID == uid {
			pod = p
		}
	}
	s.mu.Unlock()
	s.k.statuses.forget(uid)
	if pod != nil {
		go s.mirror(pod)
	}
}

func (s *staticPods) deleteMirror(mirror *v1.Pod) {
	if err := s.k.statuses.delete(mirror); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		s.k.log.Warn("deleting mirror pod", "pod", podName(mirror), "err", err)
	}
}
