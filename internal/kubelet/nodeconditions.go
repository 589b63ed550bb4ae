package kubelet

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Thresholds of the pressure conditions, as upstream's default eviction signals.
const (
	memoryLow  = 100 << 20 // memory.available
	diskLowPct = 10        // nodefs.available in percent
	pidsLowPct = 5         // pid.available in percent of pid_max
)

// nodeConditions are the node's conditions as they are now.
func (k *Kubelet) nodeConditions(ctx context.Context) []v1.NodeCondition {
	return []v1.NodeCondition{
		pressure(v1.NodeMemoryPressure, memInfo("MemAvailable") < memoryLow && memInfo("MemTotal") > memoryLow,
			"KubeletHasSufficientMemory", "kubelet has sufficient memory available",
			"KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
		pressure(v1.NodeDiskPressure, k.diskLow(),
			"KubeletHasNoDiskPressure", "kubelet has no disk pressure",
			"KubeletHasDiskPressure", "kubelet has disk pressure"),
		pressure(v1.NodePIDPressure, pidsLow(),
			"KubeletHasSufficientPID", "kubelet has sufficient PID available",
			"KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
		k.readyCondition(ctx),
	}
}

func pressure(t v1.NodeConditionType, on bool, okReason, okMessage, badReason, badMessage string) v1.NodeCondition {
	if on {
		return v1.NodeCondition{Type: t, Status: v1.ConditionTrue, Reason: badReason, Message: badMessage}
	}
	return v1.NodeCondition{Type: t, Status: v1.ConditionFalse, Reason: okReason, Message: okMessage}
}

// readyCondition says whether pods can run: the container layer and its network
// say so.
func (k *Kubelet) readyCondition(ctx context.Context) v1.NodeCondition {
	var faults []string
	st, err := k.deps.Runtime.Status(ctx, &runtimeapi.StatusRequest{})
	if err != nil {
		faults = append(faults, "container runtime is down: "+criText(err))
	}
	for _, c := range st.GetStatus().GetConditions() {
		if !c.GetStatus() {
			faults = append(faults, c.GetType()+" is not true: "+firstOf(c.GetMessage(), c.GetReason()))
		}
	}
	if len(faults) > 0 {
		return v1.NodeCondition{Type: v1.NodeReady, Status: v1.ConditionFalse, Reason: "KubeletNotReady", Message: strings.Join(faults, "; ")}
	}
	return v1.NodeCondition{Type: v1.NodeReady, Status: v1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"}
}

func (k *Kubelet) diskLow() bool {
	size, free, ok := diskSpace(k.deps.DataDir)
	return ok && size > 0 && free < size/100*diskLowPct
}

func pidsLow() bool {
	most, err := strconv.Atoi(readLine("/proc/sys/kernel/pid_max"))
	if err != nil {
		return false
	}
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return false
	}
	fields := strings.Fields(string(text))
	if len(fields) < 4 {
		return false
	}
	_, total, _ := strings.Cut(fields[3], "/")
	used, err := strconv.Atoi(total)
	return err == nil && most-used < most*pidsLowPct/100
}

// conditionsChanged reports whether a condition is not what was last written.
func (k *Kubelet) conditionsChanged(ctx context.Context) bool {
	node := k.capacity.node()
	if node == nil {
		return false
	}
	for _, c := range k.nodeConditions(ctx) {
		same := false
		for _, old := range node.Status.Conditions {
			if old.Type == c.Type {
				same = old.Status == c.Status && old.Reason == c.Reason && old.Message == c.Message
			}
		}
		if !same {
			return true
		}
	}
	return false
}

// nodeEvent is an event of the node.
type nodeEvent struct{ kind, reason, message string }

// nodeNews are the events that a change of the node's status is worth, as upstream.
func nodeNews(name string, have, want *v1.NodeStatus) []nodeEvent {
	var all []nodeEvent
	if old := have.NodeInfo.BootID; old != "" && old != want.NodeInfo.BootID {
		all = append(all, nodeEvent{v1.EventTypeWarning, "Rebooted", fmt.Sprintf("Node %s has been rebooted, boot id: %s", name, want.NodeInfo.BootID)})
	}
	for _, c := range want.Conditions {
		reason := conditionEvent(c)
		same := slices.ContainsFunc(have.Conditions, func(old v1.NodeCondition) bool { return old.Type == c.Type && old.Status == c.Status })
		if reason != "" && !same {
			all = append(all, nodeEvent{v1.EventTypeNormal, reason, fmt.Sprintf("Node %s status is now: %s", name, reason)})
		}
	}
	return all
}

// conditionEvent is the reason of the event that tells of a condition; empty: none.
func conditionEvent(c v1.NodeCondition) string {
	names := map[v1.NodeConditionType][2]string{ // when it is true, when it is not
		v1.NodeReady:          {"NodeReady", "NodeNotReady"},
		v1.NodeMemoryPressure: {"NodeHasInsufficientMemory", "NodeHasSufficientMemory"},
		v1.NodeDiskPressure:   {"NodeHasDiskPressure", "NodeHasNoDiskPressure"},
		v1.NodePIDPressure:    {"NodeHasInsufficientPID", "NodeHasSufficientPID"},
	}
	if c.Status == v1.ConditionTrue {
		return names[c.Type][0]
	}
	return names[c.Type][1]
}
