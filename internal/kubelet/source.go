package kubelet

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubelettypes "k8s.io/kubelet/pkg/types"

	"go.skiff.dev/skiff/internal/kubelet/volume"
)

// podHandler hands the API's pods of this node to their workers.
func (k *Kubelet) podHandler() cache.ResourceEventHandler {
	mine := func(object any) bool {
		pod, ok := podOf(object)
		return ok && pod.Spec.NodeName == k.deps.NodeName
	}
	return cache.FilteringResourceEventHandler{FilterFunc: mine, Handler: cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { k.podSeen(object.(*v1.Pod)) },
		UpdateFunc: func(_, object any) { k.podSeen(object.(*v1.Pod)) },
		DeleteFunc: func(object any) {
			if pod, ok := podOf(object); ok {
				k.podGone(pod)
			}
		},
	}}
}

func podOf(object any) (*v1.Pod, bool) {
	if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	pod, ok := object.(*v1.Pod)
	return pod, ok
}

func (k *Kubelet) podSeen(pod *v1.Pod) {
	if _, mirror := pod.Annotations[v1.MirrorPodAnnotationKey]; mirror {
		k.static.mirrorSeen(pod)
		return
	}
	k.statuses.seen(pod.UID, pod)
	if k.worker(pod.UID) == nil {
		k.admission.coming(pod.UID)
	}
	k.ensureWorker(pod.UID).tell(func(i *inbox) { i.pod = pod })
}

func (k *Kubelet) podGone(pod *v1.Pod) {
	if _, mirror := pod.Annotations[v1.MirrorPodAnnotationKey]; mirror {
		k.static.mirrorGone(pod)
		return
	}
	k.statuses.forget(pod.UID)
	// The scheduler gives away what a pod had as soon as its object is gone,
	// also by force: the next pod waits here for the port, and is not refused.
	k.admission.remove(pod.UID)
	if w := k.worker(pod.UID); w != nil {
		w.tell(func(i *inbox) { i.pod, i.removed = pod, true })
	}
}

// dispatch wakes the workers of pods whose containers or sandboxes changed.
func (k *Kubelet) dispatch(ctx context.Context, happened <-chan *runtimeapi.ContainerEventResponse) {
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-happened:
			if !ok {
				return
			}
			switch e.GetContainerEventType() {
			case runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT:
				k.endings.ended(e.GetContainerId())
			}
			if w := k.worker(types.UID(e.GetPodSandboxStatus().GetMetadata().GetUid())); w != nil {
				w.tell(func(i *inbox) { i.runtime = true })
			}
		}
	}
}

// prepare makes a pod's directories and volumes. It returns when a token of the
// pod has to be renewed.
func (k *Kubelet) prepare(ctx context.Context, pod *v1.Pod) (time.Time, error) {
	if err := os.MkdirAll(k.podDir(string(pod.UID)), 0o750); err != nil {
		return time.Time{}, err
	}
	return k.volumes.Setup(ctx, pod)
}

// release frees what a pod that ended held on the node, but its logs and dead
// containers: those can be read until the pod's object is gone.
func (k *Kubelet) release(_ context.Context, pod *v1.Pod) error {
	k.admission.remove(pod.UID)
	k.objects.remove(pod.UID)
	k.tokens.forget(pod.UID)
	return k.volumes.Teardown(string(pod.UID), false)
}

// forget removes the last traces of a pod that is gone.
func (k *Kubelet) forget(ctx context.Context, pod *v1.Pod, v view) {
	for _, box := range v.Sandboxes {
		if _, err := k.deps.Runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: box.ID}); err != nil && !notFound(err) {
			k.log.Warn("removing sandbox", "pod", podName(pod), "sandbox", box.ID, "err", criText(err))
		}
	}
	k.weigh(pod)
	err := errors.Join(k.cgroups.remove(string(pod.UID)), k.volumes.Teardown(string(pod.UID), true), os.RemoveAll(k.logDir(pod)))
	if err != nil {
		k.log.Warn("removing pod directory", "pod", podName(pod), "err", err)
	}
	k.statuses.forget(pod.UID)
}

// collectOrphans ends pods that the container layer still has and nobody wants:
// they were deleted while skiff was away. It also removes their directories.
func (k *Kubelet) collectOrphans(ctx context.Context) {
	boxes, err := k.deps.Runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		k.log.Warn("listing sandboxes", "err", err)
		return
	}
	for _, box := range boxes.GetItems() {
		uid := types.UID(box.GetLabels()[kubelettypes.KubernetesPodUIDLabel])
		if uid == "" || k.worker(uid) != nil {
			continue // not ours (crictl), or wanted
		}
		pod := k.orphan(ctx, uid, box)
		k.ensureWorker(uid).tell(func(i *inbox) { i.pod, i.removed = pod, true })
	}
	uids, err := k.volumes.Pods()
	if err != nil {
		k.log.Warn("listing pod directories", "err", err)
	}
	for _, uid := range uids {
		if k.worker(types.UID(uid)) == nil {
			if err := k.volumes.Teardown(uid, true); err != nil {
				k.log.Warn("removing pod directory", "uid", uid, "err", err)
			}
		}
	}
}

// orphan is as much of a pod as the container layer remembers: enough to end it.
func (k *Kubelet) orphan(ctx context.Context, uid types.UID, box *runtimeapi.PodSandbox) *v1.Pod {
	pod := &v1.Pod{}
	pod.UID, pod.Name, pod.Namespace = uid, box.GetMetadata().GetName(), box.GetMetadata().GetNamespace()
	grace := int64(v1.DefaultTerminationGracePeriodSeconds)
	list, err := k.deps.Runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{PodSandboxId: box.GetId()}})
	if err == nil {
		for _, c := range list.GetContainers() {
			pod.Spec.Containers = append(pod.Spec.Containers, v1.Container{Name: c.GetMetadata().GetName()})
			if n, err := strconv.ParseInt(c.GetAnnotations()[annotationGrace], 10, 64); err == nil {
				grace = n
			}
		}
	}
	pod.Spec.TerminationGracePeriodSeconds = &grace
	pod.Annotations = map[string]string{annotationOrphan: "true"}
	return pod
}

// annotationOrphan marks, in memory only, a pod that has no API object.
const annotationOrphan = "skiff.dev/orphan"

// volumeSources is what volumes are made from.
type volumeSources struct{ k *Kubelet }

var _ volume.Sources = volumeSources{}

func (s volumeSources) ConfigMap(ctx context.Context, namespace, name string) (*v1.ConfigMap, error) {
	return s.k.objects.ConfigMap(ctx, namespace, name)
}

func (s volumeSources) Secret(ctx context.Context, namespace, name string) (*v1.Secret, error) {
	return s.k.objects.Secret(ctx, namespace, name)
}

func (s volumeSources) Token(ctx context.Context, pod *v1.Pod, audience string, seconds int64) (string, time.Time, error) {
	return s.k.tokens.get(ctx, pod, audience, seconds)
}

func (s volumeSources) TrustBundle(context.Context, *v1.ClusterTrustBundleProjection) ([]byte, error) {
	return nil, errors.New("cluster trust bundles are not served by this cluster")
}

func (s volumeSources) Field(pod *v1.Pod, ref *v1.ObjectFieldSelector) (string, error) {
	return s.k.fieldValue(pod, ref, nil)
}

func (s volumeSources) Resource(pod *v1.Pod, ref *v1.ResourceFieldSelector) (string, error) {
	return resourceValue(pod, &v1.Container{}, ref, s.k.capacity.allocatable())
}

// containerLog is the path of a container's log.
func (k *Kubelet) containerLog(pod *v1.Pod, container string, attempt int) string {
	return filepath.Join(k.logDir(pod), container, strconv.Itoa(attempt)+".log")
}
