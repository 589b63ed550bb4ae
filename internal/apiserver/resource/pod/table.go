package pod

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
)

func table() kind.Table[*corev1.Pod] {
	spec, status := corev1.PodSpec{}.SwaggerDoc(), corev1.PodStatus{}.SwaggerDoc()
	return kind.Table[*corev1.Pod]{
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("Ready", "The aggregate readiness state of this pod for accepting traffic."),
			kind.Column("Status", "The aggregate status of the containers in this pod."),
			kind.Column("Restarts", "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted."),
			kind.AgeColumn(),
			kind.Wide(kind.Column("IP", status["podIP"])),
			kind.Wide(kind.Column("Node", spec["nodeName"])),
			kind.Wide(kind.Column("Nominated Node", status["nominatedNodeName"])),
			kind.Wide(kind.Column("Readiness Gates", spec["readinessGates"])),
		},
		Row:        row,
		Conditions: rowConditions,
	}
}

// rowConditions mark rows that kubectl may leave out of a watch.
func rowConditions(pod *corev1.Pod) []metav1.TableRowCondition {
	done := func(reason, message string) []metav1.TableRowCondition {
		return []metav1.TableRowCondition{{Type: metav1.RowCompleted, Status: metav1.ConditionTrue, Reason: reason, Message: message}}
	}
	switch pod.Status.Phase {
	case corev1.PodSucceeded:
		return done(string(corev1.PodSucceeded), "The pod has completed successfully.")
	case corev1.PodFailed:
		return done(string(corev1.PodFailed), "The pod failed.")
	}
	return nil
}

// summary is what the READY, STATUS and RESTARTS columns say. It agrees with
// upstream's printPod.
type summary struct {
	ready, total int
	reason       string
	restarts     int
	last         time.Time
	// sidecarRestarts replaces restarts once the pod is initialised: what the
	// finished init containers did is history then.
	sidecarRestarts int
	sidecarLast     time.Time
}

func row(pod *corev1.Pod) []any {
	s := summarise(pod)
	restarts := strconv.Itoa(s.restarts)
	if s.restarts != 0 && !s.last.IsZero() {
		restarts = fmt.Sprintf("%d (%s ago)", s.restarts, duration.HumanDuration(time.Since(s.last)))
	}
	ip := pod.Status.PodIP
	if len(pod.Status.PodIPs) > 0 {
		ip = pod.Status.PodIPs[0].IP
	}
	gates := "<none>"
	if n := len(pod.Spec.ReadinessGates); n > 0 {
		gates = fmt.Sprintf("%d/%d", gatesOpen(pod), n)
	}
	return []any{
		pod.Name, fmt.Sprintf("%d/%d", s.ready, s.total), s.reason, restarts, kind.Age(pod.CreationTimestamp),
		or(ip), or(pod.Spec.NodeName), or(pod.Status.NominatedNodeName), gates,
	}
}

func or(s string) string {
	if s == "" {
		return "<none>"
	}
	return s
}

func gatesOpen(pod *corev1.Pod) (open int) {
	for _, gate := range pod.Spec.ReadinessGates {
		if conditionTrue(pod, gate.ConditionType) {
			open++
		}
	}
	return open
}

func conditionTrue(pod *corev1.Pod, t corev1.PodConditionType) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == t {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func summarise(pod *corev1.Pod) summary {
	s := summary{total: len(pod.Spec.Containers), reason: string(pod.Status.Phase)}
	if pod.Status.Reason != "" {
		s.reason = pod.Status.Reason
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated {
			s.reason = corev1.PodReasonSchedulingGated
		}
	}
	if initialising := s.init(pod); !initialising || conditionTrue(pod, corev1.PodInitialized) {
		s.restarts, s.last = s.sidecarRestarts, s.sidecarLast
		s.main(pod)
	}
	if pod.DeletionTimestamp != nil {
		switch {
		case pod.Status.Reason == "NodeLost":
			s.reason = string(corev1.PodUnknown)
		case pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded:
			s.reason = "Terminating"
		}
	}
	return s
}

// init reads the init containers and tells whether one is still at work.
func (s *summary) init(pod *corev1.Pod) bool {
	sidecars := map[string]bool{}
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sidecars[c.Name] = true
			s.total++
		}
	}
	for i, c := range pod.Status.InitContainerStatuses {
		s.restarts += int(c.RestartCount)
		latest(&s.last, c)
		if sidecars[c.Name] {
			s.sidecarRestarts += int(c.RestartCount)
			latest(&s.sidecarLast, c)
		}
		ended, waiting := c.State.Terminated, c.State.Waiting
		switch {
		case ended != nil && ended.ExitCode == 0:
			continue
		case sidecars[c.Name] && c.Started != nil && *c.Started:
			if c.Ready {
				s.ready++
			}
			continue
		case ended != nil:
			s.reason = "Init:" + endReason(ended)
		case waiting != nil && waiting.Reason != "" && waiting.Reason != "PodInitializing":
			s.reason = "Init:" + waiting.Reason
		default:
			s.reason = fmt.Sprintf("Init:%d/%d", i, len(pod.Spec.InitContainers))
		}
		return true
	}
	return false
}

// main reads the main containers, the last one first: the first has the last
// word on the reason.
func (s *summary) main(pod *corev1.Pod) {
	running := false
	for _, c := range slices.Backward(pod.Status.ContainerStatuses) {
		s.restarts += int(c.RestartCount)
		latest(&s.last, c)
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			s.reason = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			s.reason = endReason(c.State.Terminated)
		case c.Ready && c.State.Running != nil:
			running = true
			s.ready++
		}
	}
	if s.reason == "Completed" && running {
		s.reason = "NotReady"
		if conditionTrue(pod, corev1.PodReady) {
			s.reason = "Running"
		}
	}
}

func latest(last *time.Time, c corev1.ContainerStatus) {
	if t := c.LastTerminationState.Terminated; t != nil && t.FinishedAt.After(*last) {
		*last = t.FinishedAt.Time
	}
}

func endReason(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}
