package kubelet

import (
	"io"
	"path/filepath"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/kernel/rootfd"
	"go.skiff.dev/skiff/internal/kubelet/nodeapi"
)

// containerStatus is the status of one container.
func (in *statusInput) containerStatus(c *v1.Container, before *v1.ContainerStatus) v1.ContainerStatus {
	r := in.View.latest(c.Name)
	m := in.Memory[c.Name]
	s := v1.ContainerStatus{Name: c.Name, Image: c.Image, VolumeMounts: mountStatuses(c)}
	if r == nil {
		in.neverStarted(&s, c, before)
		return s
	}
	s.RestartCount = int32(r.Restarts)
	s.Image = r.Image
	// The name with the digest it was pulled by, where there is one, as upstream:
	// it says where the image came from.
	s.ImageID = firstOf(r.ImageRef, r.ImageID)
	s.ContainerID = idScheme + r.ID
	s.Resources = actualResources(c, r, before)
	s.AllocatedResources = c.Resources.Requests
	s.User = containerUser(r.User)
	if p := in.View.previous(c.Name); p != nil {
		s.LastTerminationState.Terminated = in.terminated(c, p)
	} else if before != nil && before.ContainerID != s.ContainerID && before.State.Terminated != nil {
		s.LastTerminationState = before.State
	} else if before != nil {
		s.LastTerminationState = before.LastTerminationState
	}
	in.state(&s, c, r, m)
	return s
}

func (in *statusInput) state(s *v1.ContainerStatus, c *v1.Container, r *containerRecord, m containerMemory) {
	no := false
	s.Started = &no
	switch {
	case r.running() && m.Starting && hasPostStart(c):
		s.State.Waiting = &v1.ContainerStateWaiting{Reason: reasonCreating}
	case r.running():
		s.State.Running = &v1.ContainerStateRunning{StartedAt: metav1.NewTime(r.StartedAt)}
		started := c.StartupProbe == nil || m.Started == r.ID
		s.Started = &started
		s.Ready = serves(in.Pod, c) && started && (c.ReadinessProbe == nil || m.Ready == r.ID)
	case !r.ended():
		s.State.Waiting = in.notStarted()
		if m.Waiting != nil {
			s.State.Waiting = m.Waiting
		}
	case m.Waiting != nil && !in.Final && in.Termination == nil:
		s.State.Waiting = m.Waiting
		s.LastTerminationState = v1.ContainerState{Terminated: in.terminated(c, r)}
	case (m.Resized == r.ID || changed(c, r)) && !in.Final && in.Termination == nil:
		// It was ended to start again, whatever it said at its end: that is no success of the pod.
		s.State.Waiting = &v1.ContainerStateWaiting{Reason: reasonCreating}
		s.LastTerminationState = v1.ContainerState{Terminated: in.terminated(c, r)}
	default:
		s.State.Terminated = in.terminated(c, r)
		// A plain init container that succeeded counts as ready.
		s.Ready = isInit(in.Pod, c.Name) && !isSidecar(c) && r.succeeded()
	}
}

// serves reports whether a container can be ready while it runs. As upstream, one that is to
// end, an init container that is no sidecar, is ready by its success, and an ephemeral one never.
func serves(pod *v1.Pod, c *v1.Container) bool {
	return isSidecar(c) || !isInit(pod, c.Name) && !isEphemeral(pod, c.Name)
}

// notStarted is why a container waits that was not tried yet. As upstream, it
// depends on the pod alone: a container that is made, but not started, tells the
// same as one that is not made.
func (in *statusInput) notStarted() *v1.ContainerStateWaiting {
	if len(in.Pod.Spec.InitContainers) > 0 {
		return &v1.ContainerStateWaiting{Reason: reasonInitializing}
	}
	return &v1.ContainerStateWaiting{Reason: reasonCreating}
}

// neverStarted is the status of a container that the container layer does not
// know: it waits, or it was lost.
func (in *statusInput) neverStarted(s *v1.ContainerStatus, c *v1.Container, before *v1.ContainerStatus) {
	no := false
	s.Started = &no
	s.State.Waiting = in.notStarted()
	m := in.Memory[c.Name]
	if m.Waiting != nil {
		s.State.Waiting = m.Waiting
	}
	if before == nil {
		return
	}
	s.RestartCount, s.LastTerminationState = before.RestartCount, before.LastTerminationState
	switch {
	case before.State.Terminated != nil: // its record was removed after it ended
		*s = *before
	case before.State.Running != nil && before.LastTerminationState.Terminated == nil && m.Waiting == nil:
		// It ran, and somebody took it away; without this the pod would not have been started.
		s.LastTerminationState.Terminated = unknownEnd("The container could not be located when the pod was deleted.  The container used to be Running")
		if in.Pod.DeletionTimestamp == nil {
			s.RestartCount++
		}
	}
}

// terminated is how a container ended.
func (in *statusInput) terminated(c *v1.Container, r *containerRecord) *v1.ContainerStateTerminated {
	t := &v1.ContainerStateTerminated{
		ExitCode: r.ExitCode, Reason: r.Reason, Message: r.Message,
		StartedAt: metav1.NewTime(r.StartedAt), FinishedAt: metav1.NewTime(r.FinishedAt),
		ContainerID: idScheme + r.ID,
	}
	switch {
	case r.State == runtimeapi.ContainerState_CONTAINER_UNKNOWN:
		t.Reason, t.ExitCode = firstOf(r.Reason, "ContainerStatusUnknown"), unknownCode
	case t.Reason == "" && t.ExitCode == 0:
		t.Reason = "Completed"
	case t.Reason == "":
		t.Reason = "Error"
	}
	if in.Message != nil {
		t.Message = lastWords(t.Message, in.Message(in.Pod, c, r), messagePodMax/containers(in.Pod))
	}
	return t
}

func firstOf(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}

// actualResources are what the container runs with: of one that runs, what its
// cgroup has. No cgroup knows a request of memory; an old one holds until the
// limit that came with the new one is there.
func actualResources(c *v1.Container, r *containerRecord, before *v1.ContainerStatus) *v1.ResourceRequirements {
	if !r.running() || r.Resources == nil {
		return c.Resources.DeepCopy()
	}
	out := sizesOf(r.Resources).actual(c.Resources)
	if before == nil || before.ContainerID != idScheme+r.ID || before.Resources == nil || same(out.Limits, c.Resources.Limits, v1.ResourceMemory) {
		return out
	}
	if old, ok := before.Resources.Requests[v1.ResourceMemory]; ok && out.Requests != nil {
		out.Requests[v1.ResourceMemory] = old
	}
	return out
}

func containerUser(u *runtimeapi.ContainerUser) *v1.ContainerUser {
	if u.GetLinux() == nil {
		return nil
	}
	return &v1.ContainerUser{Linux: &v1.LinuxContainerUser{
		UID: u.GetLinux().GetUid(), GID: u.GetLinux().GetGid(), SupplementalGroups: u.GetLinux().GetSupplementalGroups(),
	}}
}

func mountStatuses(c *v1.Container) []v1.VolumeMountStatus {
	var all []v1.VolumeMountStatus
	for _, m := range c.VolumeMounts {
		s := v1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := v1.RecursiveReadOnlyDisabled
			if recursiveReadOnly(&m) {
				mode = v1.RecursiveReadOnlyEnabled // a status tells what is, never IfPossible
			}
			s.RecursiveReadOnly = &mode
		}
		all = append(all, s)
	}
	return all
}

// containers counts the containers of a pod, of all kinds.
func containers(pod *v1.Pod) int {
	return len(pod.Spec.InitContainers) + len(pod.Spec.Containers) + len(pod.Spec.EphemeralContainers)
}

// lastWords joins what the container layer says of a container's end and what the
// container said itself.
func lastWords(layer, own string, limit int) string {
	text := layer + own
	if layer != "" && own != "" {
		text = layer + ": " + own
	}
	return strings.ToValidUTF8(text[:min(len(text), limit)], "\uFFFD")
}

// Limits of a termination message, as upstream: of all containers of a pod, which
// have an equal share each, of a file's end, and of the log's end that stands in for it.
const (
	messagePodMax  = 12 << 10
	messageMax     = 4096
	messageLogMax  = 2048
	messageLogTail = 80
)

// terminationMessage is what a container left as its last words.
func (k *Kubelet) terminationMessage(pod *v1.Pod, c *v1.Container, r *containerRecord) string {
	if !r.ended() {
		return ""
	}
	text := readEnd(k.messagePath(string(pod.UID), r.Name, r.Restarts), messageMax)
	if text == "" && r.ExitCode != 0 && c.TerminationMessagePolicy == v1.TerminationMessageFallbackToLogsOnError {
		text = nodeapi.LogTail(r.LogPath, messageLogMax, messageLogTail)
	}
	return text
}

// readEnd reads the last bytes of a regular file that a container wrote: it is
// not followed if it was replaced by something else.
func readEnd(path string, limit int64) string {
	f, err := rootfd.OpenRegular(filepath.Split(path))
	if err != nil {
		return ""
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return ""
	}
	text, err := io.ReadAll(io.NewSectionReader(f, max(st.Size()-limit, 0), limit))
	if err != nil {
		return ""
	}
	return string(text)
}
