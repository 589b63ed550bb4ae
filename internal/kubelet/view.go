package kubelet

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubelettypes "k8s.io/kubelet/pkg/types"
)

// Annotations that the node agent writes on containers, so that a later run of
// skiff finds its own facts back in the container layer. The names are
// upstream's, so that crictl and log collectors read them.
const (
	annotationHash         = "io.kubernetes.container.hash"
	annotationRestartCount = "io.kubernetes.container.restartCount"
	annotationGrace        = "io.kubernetes.pod.terminationGracePeriod"
	annotationMessagePath  = "io.kubernetes.container.terminationMessagePath"
	annotationMessagePol   = "io.kubernetes.container.terminationMessagePolicy"
)

// sandboxRecord is what the container layer says of one pod sandbox.
type sandboxRecord struct {
	ID        string
	Attempt   uint32
	Ready     bool
	IPs       []string
	CreatedAt time.Time
	// Allocated is what the pod was given when the sandbox was made, as JSON.
	Allocated string
}

// containerRecord is what the container layer says of one container.
type containerRecord struct {
	ID, SandboxID, Name string
	// Restarts is how often the container was started before this one.
	Restarts                         int
	State                            runtimeapi.ContainerState
	CreatedAt, StartedAt, FinishedAt time.Time
	ExitCode                         int32
	Reason, Message                  string
	Image, ImageRef, ImageID         string
	LogPath                          string
	Hash                             string
	User                             *runtimeapi.ContainerUser
	Resources                        *runtimeapi.LinuxContainerResources
	// Given is what the container was started with, as JSON, if a change of that may restart it.
	Given string
}

func (c *containerRecord) running() bool {
	return c != nil && c.State == runtimeapi.ContainerState_CONTAINER_RUNNING
}

// ended reports whether the container ran and is over, or can never run. A
// container whose state nobody knows counts as ended: it is never a success.
func (c *containerRecord) ended() bool {
	return c != nil && (c.State == runtimeapi.ContainerState_CONTAINER_EXITED || c.State == runtimeapi.ContainerState_CONTAINER_UNKNOWN)
}

func (c *containerRecord) succeeded() bool {
	return c != nil && c.State == runtimeapi.ContainerState_CONTAINER_EXITED && c.ExitCode == 0
}

// view is everything the container layer knows of one pod, newest first.
type view struct {
	Sandboxes  []sandboxRecord
	Containers []containerRecord
}

// sandbox is the newest sandbox, or nil.
func (v *view) sandbox() *sandboxRecord {
	if len(v.Sandboxes) == 0 {
		return nil
	}
	return &v.Sandboxes[0]
}

// readySandbox is the newest sandbox if it is ready, or nil.
func (v *view) readySandbox() *sandboxRecord {
	if s := v.sandbox(); s != nil && s.Ready {
		return s
	}
	return nil
}

// latest is the newest container of a name, or nil.
func (v *view) latest(name string) *containerRecord {
	for i := range v.Containers {
		if v.Containers[i].Name == name {
			return &v.Containers[i]
		}
	}
	return nil
}

// previous is the newest container of a name that ended, other than the newest
// one, or nil.
func (v *view) previous(name string) *containerRecord {
	first := true
	for i := range v.Containers {
		if v.Containers[i].Name != name {
			continue
		}
		if !first && v.Containers[i].ended() {
			return &v.Containers[i]
		}
		first = false
	}
	return nil
}

// byID is the container with that identifier, or nil.
func (v *view) byID(id string) *containerRecord {
	for i := range v.Containers {
		if v.Containers[i].ID == id {
			return &v.Containers[i]
		}
	}
	return nil
}

// observe asks the container layer for all it knows of a pod.
func observe(ctx context.Context, rt runtimeapi.RuntimeServiceServer, uid string) (view, error) {
	var v view
	selector := map[string]string{kubelettypes.KubernetesPodUIDLabel: uid}
	boxes, err := rt.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{LabelSelector: selector}})
	if err != nil {
		return v, fmt.Errorf("listing sandboxes of pod %s: %w", uid, err)
	}
	for _, box := range boxes.GetItems() {
		status, err := rt.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: box.GetId()})
		if err != nil {
			continue // removed in between
		}
		v.Sandboxes = append(v.Sandboxes, sandboxFrom(status.GetStatus()))
	}
	list, err := rt.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{LabelSelector: selector}})
	if err != nil {
		return v, fmt.Errorf("listing containers of pod %s: %w", uid, err)
	}
	for _, c := range list.GetContainers() {
		status, err := rt.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: c.GetId()})
		if err != nil {
			continue
		}
		v.Containers = append(v.Containers, containerFrom(c.GetPodSandboxId(), status.GetStatus()))
	}
	v.sort()
	return v, nil
}

func (v *view) sort() {
	slices.SortStableFunc(v.Sandboxes, func(a, b sandboxRecord) int {
		return cmp.Or(-cmp.Compare(a.Attempt, b.Attempt), b.CreatedAt.Compare(a.CreatedAt))
	})
	slices.SortStableFunc(v.Containers, func(a, b containerRecord) int {
		return cmp.Or(-cmp.Compare(a.Restarts, b.Restarts), b.CreatedAt.Compare(a.CreatedAt))
	})
}

func sandboxFrom(s *runtimeapi.PodSandboxStatus) sandboxRecord {
	r := sandboxRecord{
		ID:        s.GetId(),
		Attempt:   s.GetMetadata().GetAttempt(),
		Ready:     s.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY,
		CreatedAt: unixNano(s.GetCreatedAt()),
		Allocated: s.GetAnnotations()[annotationAllocated],
	}
	if ip := s.GetNetwork().GetIp(); ip != "" {
		r.IPs = append(r.IPs, ip)
	}
	for _, ip := range s.GetNetwork().GetAdditionalIps() {
		r.IPs = append(r.IPs, ip.GetIp())
	}
	return r
}

func containerFrom(sandboxID string, s *runtimeapi.ContainerStatus) containerRecord {
	restarts, err := strconv.Atoi(s.GetAnnotations()[annotationRestartCount])
	if err != nil {
		restarts = int(s.GetMetadata().GetAttempt())
	}
	return containerRecord{
		ID:         s.GetId(),
		SandboxID:  sandboxID,
		Name:       s.GetMetadata().GetName(),
		Restarts:   restarts,
		State:      s.GetState(),
		CreatedAt:  unixNano(s.GetCreatedAt()),
		StartedAt:  unixNano(s.GetStartedAt()),
		FinishedAt: unixNano(s.GetFinishedAt()),
		ExitCode:   s.GetExitCode(),
		Reason:     s.GetReason(),
		Message:    s.GetMessage(),
		Image:      imageName(s.GetImage()),
		ImageRef:   s.GetImageRef(),
		ImageID:    s.GetImageId(),
		LogPath:    s.GetLogPath(),
		Hash:       s.GetAnnotations()[annotationHash],
		User:       s.GetUser(),
		Resources:  s.GetResources().GetLinux(),
		Given:      s.GetAnnotations()[annotationResources],
	}
}

func imageName(spec *runtimeapi.ImageSpec) string {
	return cmp.Or(spec.GetUserSpecifiedImage(), spec.GetImage())
}

// unixNano is the zero time for 0, which the CRI uses for "not yet".
func unixNano(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}
