package scheduler

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
