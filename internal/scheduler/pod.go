package scheduler

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	requests "k8s.io/component-helpers/resource"
	schedv1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// amounts are resources in the units the kernel counts: milli-CPU, bytes, pieces.
type amounts struct {
	cpu, memory, storage int64
	others               map[corev1.ResourceName]int64
}

func amountsOf(list corev1.ResourceList) amounts {
	var a amounts
	for name, quantity := range list {
		switch name {
		case corev1.ResourceCPU:
			a.cpu = quantity.MilliValue()
		case corev1.ResourceMemory:
			a.memory = quantity.Value()
		case corev1.ResourceEphemeralStorage:
			a.storage = quantity.Value()
		case corev1.ResourcePods:
		default:
			if a.others == nil {
				a.others = map[corev1.ResourceName]int64{}
			}
			a.others[name] = quantity.Value()
		}
	}
	return a
}

// lessThan reports whether it asks for less than b of anything.
func (a *amounts) lessThan(b *amounts) bool {
	if a.cpu < b.cpu || a.memory < b.memory || a.storage < b.storage {
		return true
	}
	for name, n := range b.others {
		if a.others[name] < n {
			return true
		}
	}
	return false
}

// add adds b times sign.
func (a *amounts) add(b amounts, sign int64) {
	a.cpu += sign * b.cpu
	a.memory += sign * b.memory
	a.storage += sign * b.storage
	for name, n := range b.others {
		if a.others == nil {
			a.others = map[corev1.ResourceName]int64{}
		}
		a.others[name] += sign * n
	}
}

// A container that asks for nothing is scored (never filtered) as if it asked
// for this, so that such pods spread too; upstream's values.
var assumedRequests = corev1.ResourceList{
	corev1.ResourceCPU:    *resource.NewMilliQuantity(100, resource.DecimalSI),
	corev1.ResourceMemory: *resource.NewQuantity(200*1024*1024, resource.BinarySI),
}

// port is a port of the node that a pod wants.
type port struct {
	ip       string
	protocol corev1.Protocol
	number   int32
}

// clashes reports whether two pods cannot have both ports: the wildcard address
// clashes with every address.
func (p port) clashes(q port) bool {
	return p.number == q.number && p.protocol == q.protocol && (p.ip == q.ip || p.ip == anyAddress || q.ip == anyAddress)
}

const anyAddress = "0.0.0.0"

// podInfo is a pod with what the pipeline needs of it, computed once.
type podInfo struct {
	pod      *corev1.Pod
	priority int32
	wants    amounts
	scored   amounts
	ports    []port
	required nodeaffinity.RequiredNodeAffinity
	// near and apart are the required terms of inter-pod affinity and
	// anti-affinity, likes the preferred ones of both (a negative weight for anti).
	near, apart []term
	likes       []weighted
	spread      []constraint
	owner       *metav1.OwnerReference
}

// term is one term of inter-pod (anti-)affinity.
type term struct {
	namespaces  sets.Set[string]
	ofNamespace labels.Selector
	selector    labels.Selector
	topology    string
}

type weighted struct {
	term
	weight int64
}

// matches reports whether the term speaks of the pod. namespace returns the
// labels of a namespace.
func (t *term) matches(pod *corev1.Pod, namespace func(string) labels.Set) bool {
	if !t.namespaces.Has(pod.Namespace) && (t.ofNamespace == nil || !t.ofNamespace.Matches(namespace(pod.Namespace))) {
		return false
	}
	return t.selector.Matches(labels.Set(pod.Labels))
}

// newPodInfo computes a pod's needs: requests with init containers, sidecars,
// pod level resources, overhead, and what a resize in progress holds.
func newPodInfo(pod *corev1.Pod) *podInfo {
	p := &podInfo{pod: pod, priority: schedv1.PodPriority(pod), required: nodeaffinity.GetRequiredNodeAffinity(pod), owner: metav1.GetControllerOf(pod)}
	all := requests.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true}
	p.wants = amountsOf(requests.PodRequests(pod, all))
	all.NonMissingContainerRequests = assumedRequests
	p.scored = amountsOf(requests.PodRequests(pod, all))
	p.ports = portsOf(pod)
	if a := pod.Spec.Affinity; a != nil {
		if a.PodAffinity != nil {
			p.near = termsOf(pod, a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
			p.likes = append(p.likes, weightedOf(pod, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, 1)...)
		}
		if a.PodAntiAffinity != nil {
			p.apart = termsOf(pod, a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
			p.likes = append(p.likes, weightedOf(pod, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, -1)...)
		}
	}
	p.spread = constraintsOf(pod)
	return p
}

func portsOf(pod *corev1.Pod) []port {
	var list []port
	each := func(containers []corev1.Container, sidecarsOnly bool) {
		for _, c := range containers {
			if sidecarsOnly && (c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways) {
				continue
			}
			for _, p := range c.Ports {
				if p.HostPort == 0 {
					continue
				}
				q := port{ip: p.HostIP, protocol: p.Protocol, number: p.HostPort}
				if q.ip == "" || q.ip == "::" {
					q.ip = anyAddress
				}
				if q.protocol == "" {
					q.protocol = corev1.ProtocolTCP
				}
				list = append(list, q)
			}
		}
	}
	each(pod.Spec.InitContainers, true)
	each(pod.Spec.Containers, false)
	return list
}

func termsOf(pod *corev1.Pod, terms []corev1.PodAffinityTerm) []term {
	var list []term
	for i := range terms {
		list = append(list, newTerm(pod, &terms[i]))
	}
	return list
}

func weightedOf(pod *corev1.Pod, terms []corev1.WeightedPodAffinityTerm, sign int64) []weighted {
	var list []weighted
	for i := range terms {
		list = append(list, weighted{newTerm(pod, &terms[i].PodAffinityTerm), sign * int64(terms[i].Weight)})
	}
	return list
}

// newTerm parses a term; validation has refused selectors that do not parse. A
// term without namespaces and namespace selector means the pod's own namespace.
func newTerm(pod *corev1.Pod, t *corev1.PodAffinityTerm) term {
	parsed := term{namespaces: sets.New(t.Namespaces...), topology: t.TopologyKey, selector: selectorOf(t.LabelSelector)}
	if t.NamespaceSelector != nil {
		parsed.ofNamespace = selectorOf(t.NamespaceSelector)
	} else if len(t.Namespaces) == 0 {
		parsed.namespaces.Insert(pod.Namespace)
	}
	return parsed
}

// selectorOf parses a selector; nil and what does not parse match nothing.
func selectorOf(s *metav1.LabelSelector) labels.Selector {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return selector
}
