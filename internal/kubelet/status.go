package kubelet

import (
	"os"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/kubectl/pkg/util/qos"
)

// idScheme starts the container identifiers in a pod's status.
const idScheme = "skiff://"

// statusInput is all that a pod's status is made from.
type statusInput struct {
	Pod         *v1.Pod
	View        *view
	Memory      map[string]containerMemory
	Termination *termination
	// Last is the status that was computed before, which the API server may not
	// have yet; nil: none was.
	Last *v1.PodStatus
	// Final: nothing runs and nothing will.
	Final bool
	Now   time.Time
	// HostIPs are the node's addresses.
	HostIPs []string
	// Message reads the termination message of a container that ended.
	Message func(pod *v1.Pod, c *v1.Container, r *containerRecord) string
}

// podStatus fills in what only this node knows and makes the status.
func (k *Kubelet) podStatus(in statusInput) v1.PodStatus {
	in.HostIPs = k.hostIPs()
	in.Message = k.terminationMessage
	return makeStatus(in)
}

// makeStatus computes a pod's status. Parts that others own (conditions of other
// writers, the nominated node) are kept as they are.
func makeStatus(in statusInput) v1.PodStatus {
	s := *in.Pod.Status.DeepCopy()
	if in.Last != nil {
		carryOver(&s, in.Last)
	}
	now := metav1.NewTime(in.Now)
	if s.StartTime == nil {
		s.StartTime = &now
	}
	s.ObservedGeneration = in.Pod.Generation
	s.QOSClass = qos.GetPodQOS(in.Pod)
	in.addresses(&s)

	started := initDone(in)
	s.InitContainerStatuses = in.statuses(in.Pod.Spec.InitContainers, s.InitContainerStatuses, false)
	s.ContainerStatuses = in.statuses(in.Pod.Spec.Containers, s.ContainerStatuses, !started)
	s.EphemeralContainerStatuses = in.statuses(ephemeral(in.Pod), s.EphemeralContainerStatuses, false)

	phase := podPhase(in.Pod, s.InitContainerStatuses, s.ContainerStatuses, in.Final)
	if t := in.Termination; t != nil && t.Phase != "" {
		phase = t.Phase
		s.Reason, s.Message = t.Reason, t.Message
		if t.Rejected { // as upstream: kubectl then shows the reason, not a container's
			s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses = nil, nil, nil
		}
	}
	switch in.Pod.Status.Phase { // a final phase never changes
	case v1.PodFailed, v1.PodSucceeded:
		phase = in.Pod.Status.Phase
	}
	s.Phase = phase
	setConditions(&s, in)
	return s
}

// carryOver takes what the node agent owns from the status that it computed
// last, so that times do not move because a write is still under way.
func carryOver(s, last *v1.PodStatus) {
	if s.StartTime == nil {
		s.StartTime = last.StartTime
	}
	s.PodIP, s.PodIPs = last.PodIP, last.PodIPs
	s.InitContainerStatuses = last.InitContainerStatuses
	s.ContainerStatuses = last.ContainerStatuses
	s.EphemeralContainerStatuses = last.EphemeralContainerStatuses
	for _, c := range last.Conditions {
		if !ownCondition(c.Type) {
			continue
		}
		found := false
		for i := range s.Conditions {
			if s.Conditions[i].Type == c.Type {
				s.Conditions[i], found = c, true
			}
		}
		if !found {
			s.Conditions = append(s.Conditions, c)
		}
	}
}

func ephemeral(pod *v1.Pod) []v1.Container {
	var all []v1.Container
	for i := range pod.Spec.EphemeralContainers {
		all = append(all, v1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	return all
}

// addresses sets the pod's and the node's addresses. A pod that ended keeps the
// address it had.
func (in *statusInput) addresses(s *v1.PodStatus) {
	if len(in.HostIPs) > 0 {
		s.HostIP = in.HostIPs[0]
		s.HostIPs = nil
		for _, ip := range in.HostIPs {
			s.HostIPs = append(s.HostIPs, v1.HostIP{IP: ip})
		}
	}
	var ips []string
	if box := in.View.readySandbox(); box != nil {
		ips = box.IPs
	}
	if in.Pod.Spec.HostNetwork {
		ips = in.HostIPs
	}
	if len(ips) == 0 {
		if in.Termination == nil && !in.Final && len(in.View.Sandboxes) > 0 {
			s.PodIP, s.PodIPs = "", nil // the sandbox is gone, a new one gets a new address
		}
		return
	}
	s.PodIP, s.PodIPs = ips[0], nil
	for _, ip := range ips {
		s.PodIPs = append(s.PodIPs, v1.PodIP{IP: ip})
	}
}

// initDone reports whether app containers may start or have started.
func initDone(in statusInput) bool {
	s := situation{Pod: in.Pod, View: *in.View, Memory: in.Memory, Now: in.Now}
	if s.appStarted() {
		return true
	}
	for i := range in.Pod.Spec.InitContainers {
		c := &in.Pod.Spec.InitContainers[i]
		if isSidecar(c) && !s.sidecarStarted(c) || !isSidecar(c) && !in.View.latest(c.Name).succeeded() {
			return false
		}
	}
	return true
}

func (in *statusInput) statuses(containers []v1.Container, old []v1.ContainerStatus, initializing bool) []v1.ContainerStatus {
	var all []v1.ContainerStatus
	for i := range containers {
		c := &containers[i]
		var before *v1.ContainerStatus
		for j := range old {
			if old[j].Name == c.Name {
				before = &old[j]
			}
		}
		all = append(all, in.containerStatus(c, before, initializing))
	}
	return all
}

// containerStatus is the status of one container.
func (in *statusInput) containerStatus(c *v1.Container, before *v1.ContainerStatus, initializing bool) v1.ContainerStatus {
	r := in.View.latest(c.Name)
	m := in.Memory[c.Name]
	s := v1.ContainerStatus{Name: c.Name, Image: c.Image}
	if r == nil {
		in.neverStarted(&s, c, before, initializing)
		return s
	}
	s.RestartCount = int32(r.Restarts)
	s.Image = r.Image
	s.ImageID = firstOf(r.ImageID, r.ImageRef)
	s.ContainerID = idScheme + r.ID
	s.Resources = allocated(c, r)
	s.AllocatedResources = c.Resources.Requests
	s.User = containerUser(r.User)
	s.VolumeMounts = mountStatuses(c)
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
		s.Ready = started && (c.ReadinessProbe == nil || m.Ready == r.ID)
	case !r.ended():
		s.State.Waiting = &v1.ContainerStateWaiting{Reason: reasonCreating}
		if m.Waiting != nil {
			s.State.Waiting = m.Waiting
		}
	case m.Waiting != nil && !in.Final && in.Termination == nil:
		s.State.Waiting = m.Waiting
		s.LastTerminationState = v1.ContainerState{Terminated: in.terminated(c, r)}
	default:
		s.State.Terminated = in.terminated(c, r)
		// A plain init container that succeeded counts as ready.
		s.Ready = isInit(in.Pod, c.Name) && !isSidecar(c) && r.succeeded()
	}
}

// neverStarted is the status of a container that the container layer does not
// know: it waits, or it was lost.
func (in *statusInput) neverStarted(s *v1.ContainerStatus, c *v1.Container, before *v1.ContainerStatus, initializing bool) {
	no := false
	s.Started = &no
	reason := reasonCreating
	if initializing || len(in.Pod.Spec.InitContainers) > 0 && isInit(in.Pod, c.Name) {
		reason = reasonInitializing
	}
	s.State.Waiting = &v1.ContainerStateWaiting{Reason: reason}
	if m := in.Memory[c.Name]; m.Waiting != nil {
		s.State.Waiting = m.Waiting
	}
	if before == nil {
		return
	}
	s.RestartCount, s.LastTerminationState = before.RestartCount, before.LastTerminationState
	switch {
	case before.State.Terminated != nil: // its record was removed after it ended
		*s = *before
	case before.State.Running != nil && (in.Final || in.Termination != nil):
		s.State = v1.ContainerState{Terminated: &v1.ContainerStateTerminated{
			Reason: "ContainerStatusUnknown", ExitCode: 137,
			Message: "The container could not be located when the pod was terminated",
		}}
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
		t.Reason, t.ExitCode = firstOf(r.Reason, "ContainerStatusUnknown"), 137
	case t.Reason == "" && t.ExitCode == 0:
		t.Reason = "Completed"
	case t.Reason == "":
		t.Reason = "Error"
	}
	if in.Message != nil {
		if text := in.Message(in.Pod, c, r); text != "" {
			t.Message = text
		}
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

// allocated are the limits that the container runs with.
func allocated(c *v1.Container, r *containerRecord) *v1.ResourceRequirements {
	out := &v1.ResourceRequirements{Limits: c.Resources.Limits.DeepCopy(), Requests: c.Resources.Requests.DeepCopy()}
	if !r.running() || r.Resources == nil {
		return out
	}
	if m := r.Resources.GetMemoryLimitInBytes(); m > 0 && out.Limits != nil {
		if spec, ok := out.Limits[v1.ResourceMemory]; ok && spec.Value() != m {
			out.Limits[v1.ResourceMemory] = *resource.NewQuantity(m, resource.BinarySI)
		}
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
			if m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != v1.RecursiveReadOnlyDisabled {
				mode = *m.RecursiveReadOnly
			}
			s.RecursiveReadOnly = &mode
		}
		all = append(all, s)
	}
	return all
}

// Limits of a termination message, as upstream: of the file, and of the log's
// tail that stands in for it.
const (
	messageMax     = 4096
	messageLogMax  = 2048
	messageLogTail = 80
)

// terminationMessage is what a container left as its last words.
func (k *Kubelet) terminationMessage(pod *v1.Pod, c *v1.Container, r *containerRecord) string {
	if !r.ended() {
		return ""
	}
	text := readHead(k.messagePath(string(pod.UID), r.Name, r.Restarts), messageMax)
	if text == "" && r.ExitCode != 0 && c.TerminationMessagePolicy == v1.TerminationMessageFallbackToLogsOnError {
		text = logTail(r.LogPath, messageLogMax, messageLogTail)
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// readHead reads the first bytes of a regular file that a container wrote: it is
// not followed if it was replaced by something else.
func readHead(path string, limit int) string {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return ""
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	buf := make([]byte, limit)
	n, err := f.Read(buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}
