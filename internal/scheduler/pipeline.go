package scheduler

import "skiff.dev/skiff/internal/reconcile"

// A filter says which nodes a pod cannot run on. The pipeline calls Check for
// each node, in the order of the list; the first filter that says no ends the
// node's turn, and only then Explain is called, for the words that go into the
// pod's condition and event.
//
// A worked example: a pod asks for 64 CPUs, on one node of 2. nodeName to
// hostPorts pass; resources says no, and explains "Insufficient cpu". The pod is
// parked with the wakes of resources: a node that grows, or a pod that leaves a
// node, brings it back; a label that changes does not.
type filter struct {
	name string
	// check reports whether the pod may run on the node.
	check func(c *cycle, n *nodeInfo) bool
	// explain gives the reasons after a check that failed, in upstream's words.
	explain func(c *cycle, n *nodeInfo) []string
	// hopeless, if set, reports that no preemption can help on the node.
	hopeless func(c *cycle, n *nodeInfo) bool
	// wakes are the events after which a rejected pod has a chance again.
	wakes event
}

// filters is the ordered pipeline: what is cheap and rejects much comes first.
func filters() []filter {
	return []filter{
		filterNodeName(),
		filterUnschedulable(),
		filterTaints(),
		filterNodeAffinity(),
		filterHostPorts(),
		filterResources(),
		filterPodAffinity(),
		filterSpread(),
	}
}

// A score ranks the nodes that passed all filters. rank returns one value per
// node, from 0 to 100.
type score struct {
	name   string
	weight int64
	rank   func(c *cycle, nodes []*nodeInfo) []int64
}

// scores is the list of scores with upstream's default weights.
func scores() []score {
	return []score{
		{"taints", 3, scoreTaints},
		{"node affinity", 2, scoreNodeAffinity},
		{"spread", 2, scoreSpread},
		{"pod affinity", 2, scorePodAffinity},
		{"least allocated", 1, scoreLeastAllocated},
		{"balanced", 1, scoreBalanced},
		{"image locality", 1, scoreImages},
	}
}

// FilterNames lists the pipeline for `skiff inspect`.
func FilterNames() []string {
	var names []string
	for _, f := range filters() {
		names = append(names, f.name)
	}
	return names
}

// event is a set of kinds of change in the cluster.
type event uint16

const (
	// nodeAdded also stands for a node that became visible again.
	nodeAdded event = 1 << iota
	// nodeLabels, nodeTaints (and spec.unschedulable), nodeRoom (allocatable).
	nodeLabels
	nodeTaints
	nodeRoom
	// podGone: a pod left its node, by end, deletion or a smaller request.
	podGone
	// podCame: a pod was placed, which may fulfil an affinity.
	podCame
	// podLabels of a placed pod, or labels of a namespace.
	podLabels
	eventKinds = iota
)

// anyNode is every change of a node.
const anyNode = nodeAdded | nodeLabels | nodeTaints | nodeRoom

// Reads declares what the scheduler reads.
func (s *Scheduler) Reads() []reconcile.Access {
	return []reconcile.Access{
		reconcile.Watches("", "pods"), reconcile.Watches("", "nodes"), reconcile.Watches("", "namespaces"),
	}
}

// Writes declares what the scheduler writes.
func (s *Scheduler) Writes() []reconcile.Access {
	return []reconcile.Access{
		reconcile.Does("", "pods/binding", "create"),
		reconcile.Does("", "pods/status", "patch"),
		reconcile.Does("", "pods", "delete"),
		reconcile.Records(),
	}
}
