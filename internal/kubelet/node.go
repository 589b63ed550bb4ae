package kubelet

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Times of the node's heartbeat, as upstream: the lease says that the node is
// alive, the status is written when it changes and else rarely.
const (
	leaseSeconds = 40
	leaseRenew   = 10 * time.Second
	statusReport = 5 * time.Minute
	lastHeard    = statusReport // how old a condition's heartbeat may grow
)

// nodeStatus keeps the node's object, its status and its lease.
type nodeStatus struct {
	k    *Kubelet
	port int
	poke chan struct{}

	mu    sync.Mutex
	node  *v1.Node
	lease *coordinationv1.Lease
}

func newNodeStatus(k *Kubelet) *nodeStatus {
	return &nodeStatus{k: k, poke: make(chan struct{}, 1)}
}

// imagesChanged asks for the node's list of images to be written again, soon.
func (k *Kubelet) imagesChanged() {
	select {
	case k.node.poke <- struct{}{}:
	default:
	}
}

// register makes the node's object, or brings it up to date, and makes its lease.
func (n *nodeStatus) register(ctx context.Context, port int) error {
	n.port = port
	again := retry{first: 50 * time.Millisecond, limit: 5 * time.Second}
	for {
		err := n.tryRegister(ctx)
		if err == nil {
			n.k.events.recorder.Event(n.reference(), v1.EventTypeNormal, "Starting", "Starting kubelet.")
			return nil
		}
		n.k.log.Warn("registering node", "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(again.next()):
		}
	}
}

func (n *nodeStatus) tryRegister(ctx context.Context) error {
	nodes := n.k.deps.Client.CoreV1().Nodes()
	want := &v1.Node{}
	want.Name = n.k.deps.NodeName
	want.Labels = n.labels()
	if n.k.deps.PodCIDR.IsValid() {
		want.Spec.PodCIDR = n.k.deps.PodCIDR.String()
		want.Spec.PodCIDRs = []string{want.Spec.PodCIDR}
	}
	n.fill(ctx, &want.Status, time.Now())
	have, err := nodes.Create(ctx, want, metav1.CreateOptions{})
	if err == nil {
		n.tell(&v1.NodeStatus{}, &want.Status)
	}
	if apierrors.IsAlreadyExists(err) {
		have, err = nodes.Get(ctx, want.Name, metav1.GetOptions{})
	}
	if err != nil {
		return fmt.Errorf("registering node %s: %w", want.Name, err)
	}
	if have, err = n.updateLabels(ctx, have); err != nil {
		return err
	}
	n.mu.Lock()
	n.node = have
	n.mu.Unlock()
	n.k.capacity.setNode(have)
	if err := n.renew(ctx); err != nil {
		return err
	}
	return n.write(ctx, true)
}

// updateLabels sets our labels on a node that was registered before; labels that
// others set stay.
func (n *nodeStatus) updateLabels(ctx context.Context, have *v1.Node) (*v1.Node, error) {
	missing := map[string]string{}
	for key, value := range n.labels() {
		if have.Labels[key] != value {
			missing[key] = value
		}
	}
	if len(missing) == 0 {
		return have, nil
	}
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": missing}})
	if err != nil {
		return nil, err
	}
	got, err := n.k.deps.Client.CoreV1().Nodes().Patch(ctx, have.Name, types.StrategicMergePatchType, data, metav1.PatchOptions{})
	if err != nil {
		return nil, fmt.Errorf("labelling node %s: %w", have.Name, err)
	}
	return got, nil
}

func (n *nodeStatus) labels() map[string]string {
	labels := map[string]string{
		v1.LabelHostname:                        n.k.deps.NodeName,
		v1.LabelOSStable:                        runtime.GOOS,
		v1.LabelArchStable:                      runtime.GOARCH,
		"beta.kubernetes.io/os":                 runtime.GOOS,
		"beta.kubernetes.io/arch":               runtime.GOARCH,
		"node-role.kubernetes.io/control-plane": "",
	}
	maps.Copy(labels, n.k.deps.NodeLabels)
	return labels
}

// fill sets all that the node agent knows of the node.
func (n *nodeStatus) fill(ctx context.Context, s *v1.NodeStatus, now time.Time) {
	k := n.k
	s.Capacity = k.capacity.total.DeepCopy()
	s.Allocatable = k.capacity.allocatable()
	s.NodeInfo = k.systemInfo()
	s.Addresses = k.addresses()
	s.Images = k.images(ctx)
	s.DaemonEndpoints.KubeletEndpoint.Port = int32(n.port)
	s.RuntimeHandlers, s.Features = k.features(ctx)
	for _, c := range k.nodeConditions(ctx) {
		setNodeCondition(s, c, metav1.NewTime(now))
	}
}

// features are what the container layer can do, by handler and as a whole.
func (k *Kubelet) features(ctx context.Context) ([]v1.NodeRuntimeHandler, *v1.NodeFeatures) {
	st, err := k.deps.Runtime.Status(ctx, &runtimeapi.StatusRequest{})
	if err != nil {
		return nil, nil
	}
	var all []v1.NodeRuntimeHandler
	for _, h := range st.GetRuntimeHandlers() {
		f := h.GetFeatures()
		readonly, users := f.GetRecursiveReadOnlyMounts(), f.GetUserNamespaces()
		all = append(all, v1.NodeRuntimeHandler{Name: h.GetName(), Features: &v1.NodeRuntimeHandlerFeatures{
			RecursiveReadOnlyMounts: &readonly, UserNamespaces: &users,
		}})
	}
	groups := st.GetFeatures().GetSupplementalGroupsPolicy()
	return all, &v1.NodeFeatures{SupplementalGroupsPolicy: &groups}
}

// setNodeCondition sets a condition. Its heartbeat moves only with a change or
// when it has grown old: an idle node writes nothing.
func setNodeCondition(s *v1.NodeStatus, c v1.NodeCondition, now metav1.Time) {
	c.LastHeartbeatTime, c.LastTransitionTime = now, now
	for i := range s.Conditions {
		old := &s.Conditions[i]
		if old.Type != c.Type {
			continue
		}
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
			if old.Reason == c.Reason && old.Message == c.Message && now.Sub(old.LastHeartbeatTime.Time) < lastHeard {
				c.LastHeartbeatTime = old.LastHeartbeatTime
			}
		}
		*old = c
		return
	}
	s.Conditions = append(s.Conditions, c)
}

// write writes the node's status if it changed.
func (n *nodeStatus) write(ctx context.Context, fresh bool) error {
	nodes := n.k.deps.Client.CoreV1().Nodes()
	n.mu.Lock()
	have := n.node
	n.mu.Unlock()
	if !fresh {
		got, err := nodes.Get(ctx, n.k.deps.NodeName, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return n.tryRegister(ctx) // somebody deleted the node: it is still here
		}
		if err != nil {
			return fmt.Errorf("reading node: %w", err)
		}
		have = got
	}
	want := have.DeepCopy()
	n.fill(ctx, &want.Status, time.Now())
	if apiequality.Semantic.DeepEqual(have.Status, want.Status) {
		n.seen(have)
		return nil
	}
	data, err := statusDifference(have, want)
	if err != nil {
		return err
	}
	got, err := nodes.Patch(ctx, have.Name, types.StrategicMergePatchType, data, metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("writing node status: %w", err)
	}
	n.tell(&have.Status, &want.Status)
	n.seen(got)
	return nil
}

// tell writes the events of a change that the API server has taken.
func (n *nodeStatus) tell(have, want *v1.NodeStatus) {
	for _, e := range nodeNews(n.k.deps.NodeName, have, want) {
		n.k.events.recorder.Event(n.reference(), e.kind, e.reason, e.message)
	}
}

func (n *nodeStatus) seen(node *v1.Node) {
	n.mu.Lock()
	n.node = node
	n.mu.Unlock()
	n.k.capacity.setNode(node)
	n.k.admission.retry()
}

func statusDifference(have, want *v1.Node) ([]byte, error) {
	old, err := json.Marshal(v1.Node{Status: have.Status})
	if err != nil {
		return nil, err
	}
	next, err := json.Marshal(v1.Node{Status: want.Status})
	if err != nil {
		return nil, err
	}
	return strategicpatch.CreateTwoWayMergePatch(old, next, v1.Node{})
}

// beat renews the lease and writes the status, until ctx ends.
func (n *nodeStatus) beat(ctx context.Context) {
	lease := time.NewTicker(leaseRenew)
	defer lease.Stop()
	status := time.NewTicker(statusReport)
	defer status.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-lease.C:
			err = n.renew(ctx)
			if n.k.conditionsChanged(ctx) {
				n.k.imagesChanged()
			}
		case <-status.C:
			err = n.write(ctx, false)
		case <-n.poke:
			err = n.write(ctx, false)
		}
		if err != nil && ctx.Err() == nil {
			n.k.log.Warn("reporting node", "err", err)
		}
	}
}

// reference names the node in events; its UID is its name, as upstream has it.
func (n *nodeStatus) reference() *v1.ObjectReference {
	name := n.k.deps.NodeName
	return &v1.ObjectReference{Kind: "Node", Name: name, UID: types.UID(name)}
}

func sortImages(all []v1.ContainerImage) {
	slices.SortFunc(all, func(a, b v1.ContainerImage) int {
		return cmp.Or(-cmp.Compare(a.SizeBytes, b.SizeBytes), cmp.Compare(a.Names[0], b.Names[0]))
	})
}
