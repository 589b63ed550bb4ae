package garbage

import (
	"fmt"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// identity says which object a node of the graph is.
type identity struct {
	uid       types.UID
	kind      schema.GroupVersionKind
	namespace string
	name      string
}

func (i identity) String() string {
	return fmt.Sprintf("%s %s/%s", i.kind.Kind, i.namespace, i.name)
}

// node is an object in the graph. A virtual node is an owner that a reference
// names and no watch has shown.
type node struct {
	identity
	owners     []metav1.OwnerReference
	dependents map[types.UID]*node
	deleting, foreground, orphan,
	virtual bool
}

// view is a copy of a node, safe to read without the lock.
type view struct {
	node
	dependents []node
}

// blocks reports whether the object's reference to the owner blocks its deletion.
func (n *node) blocks(owner types.UID) bool {
	return slices.ContainsFunc(n.owners, func(r metav1.OwnerReference) bool {
		return r.UID == owner && r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion
	})
}

// graph holds who owns whom. look asks for a run over an object.
type graph struct {
	look func(types.UID)
	mu   sync.Mutex
	all  map[types.UID]*node
}

func newGraph(look func(types.UID)) *graph {
	return &graph{look: look, all: map[types.UID]*node{}}
}

// put takes an object's present state.
func (g *graph) put(kind schema.GroupVersionKind, o metav1.Object) {
	g.mu.Lock()
	defer g.mu.Unlock()
	id := identity{o.GetUID(), kind, o.GetNamespace(), o.GetName()}
	n := g.all[id.uid]
	if n == nil {
		n = &node{dependents: map[types.UID]*node{}}
		g.all[id.uid] = n
	}
	was := *n
	n.identity, n.virtual = id, false
	n.deleting = o.GetDeletionTimestamp() != nil
	n.foreground = n.deleting && slices.Contains(o.GetFinalizers(), metav1.FinalizerDeleteDependents)
	n.orphan = n.deleting && slices.Contains(o.GetFinalizers(), metav1.FinalizerOrphanDependents)
	g.setOwners(n, o.GetOwnerReferences())
	g.react(n, was)
}

// react asks for the runs that a change makes necessary.
func (g *graph) react(n *node, was node) {
	if n.orphan && !was.orphan || n.foreground && !was.foreground {
		g.look(n.uid)
	}
	if was.virtual && was.identity != n.identity {
		// References that name it by other coordinates are not valid.
		g.lookAtDependents(n)
	}
	if !sameOwners(was.owners, n.owners) || n.deleting && !was.deleting {
		for _, reference := range append(slices.Clone(was.owners), n.owners...) {
			if owner := g.all[reference.UID]; owner != nil && owner.foreground {
				g.look(owner.uid)
			}
		}
	}
	if len(was.owners) > 0 && !sameOwners(was.owners, n.owners) || g.misplaced(n) {
		g.look(n.uid)
	}
}

// misplaced reports whether an owner is one that waits for its dependents, or
// one that lives elsewhere than the reference says.
func (g *graph) misplaced(n *node) bool {
	return slices.ContainsFunc(n.owners, func(r metav1.OwnerReference) bool {
		owner := g.all[r.UID]
		return owner != nil && !owner.virtual && (owner.foreground || !owner.namedBy(r, n.namespace))
	})
}

// namedBy reports whether a reference from the namespace means this node.
func (n *node) namedBy(r metav1.OwnerReference, namespace string) bool {
	group, err := schema.ParseGroupVersion(r.APIVersion)
	return err == nil && group.Group == n.kind.Group && r.Kind == n.kind.Kind && r.Name == n.name &&
		(n.namespace == "" || n.namespace == namespace)
}

func sameOwners(a, b []metav1.OwnerReference) bool {
	return slices.EqualFunc(a, b, func(x, y metav1.OwnerReference) bool {
		bx, by := x.BlockOwnerDeletion != nil && *x.BlockOwnerDeletion, y.BlockOwnerDeletion != nil && *y.BlockOwnerDeletion
		return x.UID == y.UID && bx == by
	})
}

// setOwners links a node to its owners; unknown ones become virtual nodes.
func (g *graph) setOwners(n *node, owners []metav1.OwnerReference) {
	for _, reference := range n.owners {
		g.unlink(n, reference.UID)
	}
	n.owners = slices.Clone(owners)
	for _, reference := range owners {
		owner := g.all[reference.UID]
		if owner == nil {
			group, _ := schema.ParseGroupVersion(reference.APIVersion)
			owner = &node{
				identity:   identity{reference.UID, group.WithKind(reference.Kind), n.namespace, reference.Name},
				dependents: map[types.UID]*node{}, virtual: true,
			}
			g.all[reference.UID] = owner
			g.look(reference.UID)
		}
		owner.dependents[n.uid] = n
	}
}

// unlink takes a dependent from an owner; a virtual owner without any is forgotten.
func (g *graph) unlink(n *node, owner types.UID) {
	o := g.all[owner]
	if o == nil {
		return
	}
	delete(o.dependents, n.uid)
	if o.virtual && len(o.dependents) == 0 {
		delete(g.all, owner)
	}
}

// remove takes an object out: its dependents may have lost their last owner,
// and owners that waited for it may go.
func (g *graph) remove(uid types.UID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.all[uid]
	if n == nil {
		return
	}
	delete(g.all, uid)
	for _, reference := range n.owners {
		g.unlink(n, reference.UID)
		if owner := g.all[reference.UID]; owner != nil && owner.foreground {
			g.look(owner.uid)
		}
	}
	g.lookAtDependents(n)
}

func (g *graph) lookAtDependents(n *node) {
	for uid := range n.dependents {
		g.look(uid)
	}
}

// view returns a copy of a node and of its dependents.
func (g *graph) view(uid types.UID) (view, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.all[uid]
	if n == nil {
		return view{}, false
	}
	v := view{node: *n}
	v.node.dependents = nil
	for _, d := range n.dependents {
		v.dependents = append(v.dependents, *d)
	}
	return v, true
}

// known returns the uids of a kind's objects.
func (g *graph) known(kind schema.GroupVersionKind) []types.UID {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []types.UID
	for uid, n := range g.all {
		if n.kind == kind && !n.virtual {
			list = append(list, uid)
		}
	}
	return list
}
