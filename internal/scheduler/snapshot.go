package scheduler

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// nodeInfo is a node with the pods on it, those that are assumed to be there included.
type nodeInfo struct {
	node     *corev1.Node
	name     string
	capacity amounts
	maxPods  int
	used     amounts
	scored   amounts
	pods     map[types.UID]*podInfo
	// with counts pods that have (anti-)affinity terms of their own: most
	// clusters have none, and then nobody looks for them.
	withTerms int
	images    map[string]int64
}

func newNodeInfo(name string) *nodeInfo {
	return &nodeInfo{name: name, pods: map[types.UID]*podInfo{}}
}

func (n *nodeInfo) setNode(node *corev1.Node) {
	n.node = node
	if node == nil {
		return
	}
	n.capacity = amountsOf(node.Status.Allocatable)
	pods := node.Status.Allocatable[corev1.ResourcePods]
	n.maxPods = int(pods.Value())
	n.images = make(map[string]int64, len(node.Status.Images))
	for _, image := range node.Status.Images {
		for _, name := range image.Names {
			n.images[name] = image.SizeBytes
		}
	}
}

func (n *nodeInfo) add(p *podInfo) {
	n.remove(p.pod.UID)
	n.pods[p.pod.UID] = p
	n.count(p, 1)
}

func (n *nodeInfo) remove(uid types.UID) {
	if p := n.pods[uid]; p != nil {
		n.count(p, -1)
		delete(n.pods, uid)
	}
}

func (n *nodeInfo) count(p *podInfo, sign int64) {
	n.used.add(p.wants, sign)
	n.scored.add(p.scored, sign)
	if len(p.near)+len(p.apart)+len(p.likes) > 0 {
		n.withTerms += int(sign)
	}
}

// clone returns a copy whose pods can be added and removed without touching n.
func (n *nodeInfo) clone() *nodeInfo {
	c := newNodeInfo(n.name)
	c.setNode(n.node)
	for _, p := range n.pods {
		c.add(p)
	}
	return c
}

// snapshot is the scheduler's picture of the cluster. Its owner holds the lock
// of the Scheduler; a cycle sees one state from its begin to its end.
type snapshot struct {
	nodes map[string]*nodeInfo
	// where says on which node a known pod is, also an assumed one.
	where map[types.UID]string
	// assumed pods have been given a node that the watch has not shown yet.
	assumed map[types.UID]bool
	// nominated pods wait for victims on a node to go.
	nominated map[types.UID]*nomination
	ordered   []*nodeInfo
}

type nomination struct {
	pod  *podInfo
	node string
}

func newSnapshot() *snapshot {
	return &snapshot{
		nodes: map[string]*nodeInfo{}, where: map[types.UID]string{},
		assumed: map[types.UID]bool{}, nominated: map[types.UID]*nomination{},
	}
}

func (s *snapshot) at(name string) *nodeInfo {
	n := s.nodes[name]
	if n == nil {
		n = newNodeInfo(name)
		s.nodes[name] = n
	}
	return n
}

func (s *snapshot) setNode(node *corev1.Node) {
	s.at(node.Name).setNode(node)
	s.ordered = nil
}

func (s *snapshot) dropNode(name string) {
	n := s.nodes[name]
	if n == nil {
		return
	}
	n.setNode(nil)
	s.ordered = nil
	s.sweep(n)
}

// sweep forgets a node that is gone once its last pod is gone too.
func (s *snapshot) sweep(n *nodeInfo) {
	if n.node == nil && len(n.pods) == 0 {
		delete(s.nodes, n.name)
	}
}

// addPod puts a pod on its node; it replaces an older version or an assumption.
func (s *snapshot) addPod(p *podInfo) {
	s.dropPod(p.pod.UID)
	s.at(p.pod.Spec.NodeName).add(p)
	s.where[p.pod.UID] = p.pod.Spec.NodeName
}

// pod is a pod that is on a node, or nil.
func (s *snapshot) pod(uid types.UID) *podInfo {
	if n := s.nodes[s.where[uid]]; n != nil {
		return n.pods[uid]
	}
	return nil
}

func (s *snapshot) assume(p *podInfo, node string) {
	s.dropPod(p.pod.UID)
	s.at(node).add(p)
	s.where[p.pod.UID] = node
	s.assumed[p.pod.UID] = true
}

// dropPod removes a pod and reports whether it was on a node.
func (s *snapshot) dropPod(uid types.UID) bool {
	delete(s.nominated, uid)
	delete(s.assumed, uid)
	name, ok := s.where[uid]
	if !ok {
		return false
	}
	delete(s.where, uid)
	if n := s.nodes[name]; n != nil {
		n.remove(uid)
		s.sweep(n)
	}
	return true
}

// list returns the nodes that exist, in the order of their names.
func (s *snapshot) list() []*nodeInfo {
	if s.ordered == nil {
		for _, n := range s.nodes {
			if n.node != nil {
				s.ordered = append(s.ordered, n)
			}
		}
		slices.SortFunc(s.ordered, func(a, b *nodeInfo) int {
			if a.name < b.name {
				return -1
			}
			return 1
		})
	}
	return s.ordered
}
