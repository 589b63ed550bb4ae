package scheduler

import (
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

const best = 100

// each ranks every node by one function.
func each(nodes []*nodeInfo, rank func(*nodeInfo) int64) []int64 {
	list := make([]int64, len(nodes))
	for i, n := range nodes {
		list[i] = rank(n)
	}
	return list
}

// normalise stretches the values to 0..best; reverse makes the smallest the best.
func normalise(list []int64, reverse bool) []int64 {
	low, high := int64(math.MaxInt64), int64(math.MinInt64)
	for _, v := range list {
		low, high = min(low, v), max(high, v)
	}
	for i, v := range list {
		switch {
		case high == low:
			list[i] = 0
		case reverse:
			list[i] = best * (high - v) / (high - low)
		default:
			list[i] = best * (v - low) / (high - low)
		}
	}
	return list
}

// scoreTaints prefers nodes without taints of the effect PreferNoSchedule that
// the pod does not tolerate.
func scoreTaints(c *cycle, nodes []*nodeInfo) []int64 {
	return normalise(each(nodes, func(n *nodeInfo) int64 {
		var count int64
		for i := range n.node.Spec.Taints {
			t := &n.node.Spec.Taints[i]
			if t.Effect == corev1.TaintEffectPreferNoSchedule && !tolerates(c.pod.pod, t) {
				count++
			}
		}
		return count
	}), true)
}

// scoreNodeAffinity adds the weights of the preferred terms that a node matches.
func scoreNodeAffinity(c *cycle, nodes []*nodeInfo) []int64 {
	a := c.pod.pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || len(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
		return make([]int64, len(nodes))
	}
	terms, err := nodeaffinity.NewPreferredSchedulingTerms(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	if err != nil {
		return make([]int64, len(nodes))
	}
	return normalise(each(nodes, func(n *nodeInfo) int64 { return terms.Score(n.node) }), false)
}

// scoreLeastAllocated prefers the emptier node.
func scoreLeastAllocated(c *cycle, nodes []*nodeInfo) []int64 {
	return each(nodes, func(n *nodeInfo) int64 {
		cpu := free(n.capacity.cpu, n.scored.cpu+c.pod.scored.cpu)
		memory := free(n.capacity.memory, n.scored.memory+c.pod.scored.memory)
		return (cpu + memory) / 2
	})
}

func free(capacity, used int64) int64 {
	if capacity <= 0 || used > capacity {
		return 0
	}
	return (capacity - used) * best / capacity
}

// scoreBalanced prefers nodes where CPU and memory fill up evenly.
func scoreBalanced(c *cycle, nodes []*nodeInfo) []int64 {
	return each(nodes, func(n *nodeInfo) int64 {
		cpu := fractionOf(n.used.cpu+c.pod.wants.cpu, n.capacity.cpu)
		memory := fractionOf(n.used.memory+c.pod.wants.memory, n.capacity.memory)
		return int64((1 - math.Abs(cpu-memory)/2) * best)
	})
}

func fractionOf(used, capacity int64) float64 {
	if capacity <= 0 {
		return 1
	}
	return min(1, float64(used)/float64(capacity))
}

// The sizes between which an image's presence counts; upstream's values.
const (
	smallImage int64 = 23 << 20
	largeImage int64 = 1000 << 20
)

// scoreImages prefers nodes that have the pod's images, large ones above all;
// an image that few nodes have counts less, so that its node is not flooded.
func scoreImages(c *cycle, nodes []*nodeInfo) []int64 {
	containers := append(append([]corev1.Container{}, c.pod.pod.Spec.InitContainers...), c.pod.pod.Spec.Containers...)
	spread := func(image string) float64 {
		count := 0
		for _, n := range c.nodes {
			if _, ok := n.images[image]; ok {
				count++
			}
		}
		return float64(count) / float64(len(c.nodes))
	}
	return each(nodes, func(n *nodeInfo) int64 {
		var sum int64
		for i := range containers {
			name := imageName(containers[i].Image)
			if size, ok := n.images[name]; ok {
				sum += int64(float64(size) * spread(name))
			}
		}
		most := largeImage * int64(len(containers))
		sum = min(max(sum, smallImage), most)
		return best * (sum - smallImage) / (most - smallImage)
	})
}

// imageName adds the default tag.
func imageName(name string) string {
	if strings.LastIndex(name, ":") <= strings.LastIndex(name, "/") {
		return name + ":latest"
	}
	return name
}

// scorePodAffinity adds the weights of the pod's preferences about other pods,
// and of theirs about it, per domain.
func scorePodAffinity(c *cycle, nodes []*nodeInfo) []int64 {
	sums := map[domain]int64{}
	add := func(n *nodeInfo, key string, weight int64) {
		if d, ok := domainOf(n, key); ok {
			sums[d] += weight
		}
	}
	for _, n := range c.nodes {
		if len(c.pod.likes) == 0 && n.withTerms == 0 {
			continue
		}
		for _, other := range n.pods {
			for i := range c.pod.likes {
				if c.pod.likes[i].matches(other.pod, c.namespace) {
					add(n, c.pod.likes[i].topology, c.pod.likes[i].weight)
				}
			}
			for i := range other.likes {
				if other.likes[i].matches(c.pod.pod, c.namespace) {
					add(n, other.likes[i].topology, other.likes[i].weight)
				}
			}
			for i := range other.near {
				// A required affinity of a running pod counts as a wish of weight 1.
				if other.near[i].matches(c.pod.pod, c.namespace) {
					add(n, other.near[i].topology, 1)
				}
			}
		}
	}
	if len(sums) == 0 {
		return make([]int64, len(nodes))
	}
	return normalise(each(nodes, func(n *nodeInfo) int64 {
		var sum int64
		for d, weight := range sums {
			if value, ok := n.node.Labels[d.key]; ok && value == d.value {
				sum += weight
			}
		}
		return sum
	}), false)
}

// scoreSpread prefers domains with fewer matching pods, by the pod's own soft
// constraints; a pod without any is spread over hosts among the pods of the
// same controller.
func scoreSpread(c *cycle, nodes []*nodeInfo) []int64 {
	if len(c.pod.spread) == 0 {
		return scoreSiblings(c, nodes)
	}
	m := c.spreadCounts()
	return normalise(each(nodes, func(n *nodeInfo) int64 {
		var sum float64
		for i, s := range c.pod.spread {
			if value, ok := n.node.Labels[s.key]; ok && !s.hard {
				// Many small domains weigh more than few large ones.
				sum += float64(m[i][value])*math.Log(float64(len(m[i])+2)) + float64(s.maxSkew-1)
			}
		}
		return int64(math.Round(sum * 16))
	}), true)
}

func scoreSiblings(c *cycle, nodes []*nodeInfo) []int64 {
	if c.pod.owner == nil {
		return make([]int64, len(nodes))
	}
	return normalise(each(nodes, func(n *nodeInfo) int64 {
		var count int64
		for _, other := range n.pods {
			if other.owner != nil && other.owner.UID == c.pod.owner.UID && other.pod.DeletionTimestamp == nil {
				count++
			}
		}
		return count
	}), true)
}
