package kubelet

import (
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// refusal is why a pod may not run on this node, in upstream's words.
type refusal struct{ Reason, Message string }

// admit decides once whether the pod may run here: the scheduler may have been
// wrong, or somebody set spec.nodeName without asking it. A pod that already has
// containers was admitted by an earlier run of skiff.
func (w *worker) admit(now time.Time) {
	w.admitted = true
	ending := w.pod.DeletionTimestamp != nil || w.removed || over(w.pod.Status.Phase)
	if ending || len(w.view.Sandboxes) > 0 {
		if !w.removed {
			w.adoptResources()
			w.k.admission.add(w.pod)
		}
		w.k.objects.add(w.pod)
		return
	}
	if r := w.refused(); r != nil {
		w.k.events.pod(w.pod, v1.EventTypeWarning, r.Reason, r.Message)
		w.end(termination{Since: now, Grace: gracePeriod(w.pod), Phase: v1.PodFailed, Reason: r.Reason, Message: "Pod was rejected: " + r.Message, Rejected: true})
		return
	}
	w.allocation = allocationOf(w.pod)
	w.k.objects.add(w.pod)
}

// refused says why the pod may not run here, if so. What is known here of the node
// may be older than what the scheduler knew, which saw a label that was just set:
// a refusal is of the node as the API server has it.
func (w *worker) refused() *refusal {
	if wantsAppArmor(w.pod) && !appArmorEnabled() {
		return &refusal{"AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host"}
	}
	r := w.k.admission.check(w.pod, w.k.capacity.node())
	if r == nil {
		return nil
	}
	node, err := w.k.deps.Client.CoreV1().Nodes().Get(w.ctx, w.k.deps.NodeName, metav1.GetOptions{})
	if err != nil {
		return r
	}
	return w.k.admission.check(w.pod, node)
}

// wantsAppArmor reports whether a container of a pod is to be confined by AppArmor:
// where there is none it must not run.
func wantsAppArmor(pod *v1.Pod) bool {
	wants := false
	everyContainer(pod, func(c *v1.Container) {
		p := apparmorProfile(pod, c)
		wants = wants || p != nil && p.ProfileType != runtimeapi.SecurityProfile_Unconfined
	})
	return wants
}

// appArmorEnabled asks the kernel.
func appArmorEnabled() bool {
	return strings.HasPrefix(readLine("/sys/module/apparmor/parameters/enabled"), "Y")
}

// fits checks a pod against a node and the pods that are on it. It is pure.
func fits(pod *v1.Pod, node *v1.Node, others []*v1.Pod) *refusal {
	if node == nil {
		return nil
	}
	if name, ok := pod.Labels[v1.LabelOSStable]; ok && name != string(v1.Linux) {
		return &refusal{"PodOSSelectorNodeLabelDoesNotMatch", "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"}
	}
	if os := pod.Spec.OS; os != nil && os.Name != v1.Linux {
		return &refusal{"PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"}
	}
	if r := fitsResources(pod, node, others); r != nil {
		return r
	}
	if match, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err != nil || !match {
		return &refusal{"NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"}
	}
	if r := fitsPorts(pod, others); r != nil {
		return r
	}
	for _, taint := range node.Spec.Taints {
		if taint.Effect == v1.TaintEffectNoExecute && !tolerates(pod, &taint) {
			return &refusal{"TaintToleration", "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"}
		}
	}
	return fitsSysctls(pod)
}

// safeSysctls belong to the pod's own namespaces and can neither harm another
// pod nor the node, as upstream lists them for kernels of today.
func safeSysctls() []string {
	return []string{
		"kernel.shm_rmid_forced",
		"net.ipv4.ip_local_port_range",
		"net.ipv4.ip_local_reserved_ports",
		"net.ipv4.ip_unprivileged_port_start",
		"net.ipv4.ping_group_range",
		"net.ipv4.tcp_fin_timeout",
		"net.ipv4.tcp_keepalive_intvl",
		"net.ipv4.tcp_keepalive_probes",
		"net.ipv4.tcp_keepalive_time",
		"net.ipv4.tcp_rmem",
		"net.ipv4.tcp_syncookies",
		"net.ipv4.tcp_wmem",
	}
}

// fitsSysctls refuses what is not known to be safe. A name may be written with
// slashes, as sysctl(8) allows.
func fitsSysctls(pod *v1.Pod) *refusal {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	for _, s := range pod.Spec.SecurityContext.Sysctls {
		name := strings.ReplaceAll(s.Name, "/", ".")
		net := strings.HasPrefix(name, "net.") && pod.Spec.HostNetwork
		ipc := strings.HasPrefix(name, "kernel.") && pod.Spec.HostIPC
		if net || ipc || !slices.Contains(safeSysctls(), name) {
			return &refusal{"SysctlForbidden", fmt.Sprintf("forbidden sysctl: %q not allowlisted", s.Name)}
		}
	}
	return nil
}

func tolerates(pod *v1.Pod, taint *v1.Taint) bool {
	for i := range pod.Spec.Tolerations {
		t := &pod.Spec.Tolerations[i]
		if (t.Effect == "" || t.Effect == taint.Effect) && (t.Key == "" && t.Operator == v1.TolerationOpExists || t.Key == taint.Key && (t.Operator == v1.TolerationOpExists || t.Value == taint.Value)) {
			return true
		}
	}
	return false
}

// fitsResources compares the pods' requests with what the node has to give.
func fitsResources(pod *v1.Pod, node *v1.Node, others []*v1.Pod) *refusal {
	can := node.Status.Allocatable
	if limit := can.Pods().Value(); limit > 0 && int64(len(others)+1) > limit {
		return &refusal{"OutOfpods", fmt.Sprintf("Node didn't have enough resource: pods, requested: 1, used: %d, capacity: %d", len(others), limit)}
	}
	for name, want := range asked(pod) {
		have, ok := can[name]
		if want.IsZero() || !ok && (name == v1.ResourceEphemeralStorage || extended(name)) {
			continue // an extended resource that no node has is one of the cluster as a whole
		}
		if lack := lacks(name, want, have, others); lack != "" {
			return &refusal{"OutOf" + string(name), lack}
		}
	}
	return nil
}

// extended reports whether a resource is one that somebody else than Kubernetes defined.
func extended(name v1.ResourceName) bool {
	domain, _, ok := strings.Cut(string(name), "/")
	return ok && domain != "kubernetes.io" && !strings.HasSuffix(domain, ".kubernetes.io")
}

// fitsPorts checks the host's ports.
func fitsPorts(pod *v1.Pod, others []*v1.Pod) *refusal {
	for _, mine := range hostPorts(pod) {
		for _, o := range others {
			for _, theirs := range hostPorts(o) {
				if mine.HostPort == theirs.HostPort && mine.Protocol == theirs.Protocol && ipsMeet(mine.HostIP, theirs.HostIP) {
					return &refusal{"NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"}
				}
			}
		}
	}
	return nil
}

func hostPorts(pod *v1.Pod) []v1.ContainerPort {
	var ports []v1.ContainerPort
	eachContainer(pod, func(c *v1.Container) {
		for _, p := range c.Ports {
			if pod.Spec.HostNetwork && p.HostPort == 0 {
				p.HostPort = p.ContainerPort
			}
			if p.HostPort > 0 {
				ports = append(ports, p)
			}
		}
	})
	return ports
}

func ipsMeet(a, b string) bool {
	all := func(s string) bool { return s == "" || s == "0.0.0.0" || s == "::" }
	return a == b || all(a) || all(b)
}
