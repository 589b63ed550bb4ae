package scheduler

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
