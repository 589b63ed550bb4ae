package scheduler

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

// FilterNames lists the pipeline for `skiff inspect`.
func FilterNames() []string {
	var names []string
	for _, f := range filters() {
		names = append(names, f.name)
	}
	return names
}
