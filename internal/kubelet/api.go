package kubelet

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/kubelet/nodeapi"
)

// apiServer is the node API while it runs; without TLS there is none.
type apiServer struct {
	server   *nodeapi.Server
	listener net.Listener
}

// startAPI listens on the node's port and answers.
func (k *Kubelet) startAPI(ctx context.Context) (*apiServer, error) {
	if k.deps.TLS == nil {
		return &apiServer{}, nil
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", net.JoinHostPort("", strconv.Itoa(k.deps.Port)))
	if err != nil {
		return nil, fmt.Errorf("listening on kubelet port %d: %w", k.deps.Port, err)
	}
	server := nodeapi.New(nodeapi.Deps{
		Pods: nodePods{k}, Runtime: k.deps.Runtime, Images: k.deps.Images, Streaming: k.deps.Streaming,
		TLS: k.deps.TLS, NodeName: k.deps.NodeName, Started: time.Now(), Log: k.log,
	})
	k.wg.Go(func() {
		if err := server.Serve(listener); err != nil {
			k.log.Error("serving node API", "err", err)
		}
	})
	return &apiServer{server, listener}, nil
}

func (a *apiServer) port() int {
	if a.listener == nil {
		return 0
	}
	return a.listener.Addr().(*net.TCPAddr).Port
}

func (a *apiServer) stop() error {
	if a.server == nil {
		return nil
	}
	return a.server.Stop()
}

// nodePods is what the node API asks of the node agent.
type nodePods struct{ k *Kubelet }

var _ nodeapi.Pods = nodePods{}

// Pods lists the pods of the node: those of the API, and static pods that have
// no mirror yet.
func (n nodePods) Pods() []*v1.Pod {
	var pods []*v1.Pod
	for _, object := range n.k.pods.GetStore().List() {
		if pod, ok := object.(*v1.Pod); ok && pod.Spec.NodeName == n.k.deps.NodeName {
			pods = append(pods, pod)
		}
	}
	return pods
}

// Pod finds a pod. For a mirror pod it is the static pod behind it, under whose
// identifier the containers run.
func (n nodePods) Pod(namespace, name, uid string) *v1.Pod {
	object, ok, err := n.k.pods.GetStore().GetByKey(namespace + "/" + name)
	if err != nil || !ok {
		return nil
	}
	pod, ok := object.(*v1.Pod)
	if !ok || pod.Spec.NodeName != n.k.deps.NodeName || uid != "" && uid != string(pod.UID) {
		return nil
	}
	if static := n.k.static.behind(pod); static != nil {
		return static
	}
	return pod
}

func (n nodePods) Container(ctx context.Context, pod *v1.Pod, name string) (string, error) {
	v, err := observe(ctx, n.k.deps.Runtime, string(pod.UID))
	if err != nil {
		return "", err
	}
	if c := v.latest(name); c.running() {
		return c.ID, nil
	}
	return "", fmt.Errorf("container not found (%q)", name)
}

func (n nodePods) Sandbox(ctx context.Context, pod *v1.Pod) (string, error) {
	v, err := observe(ctx, n.k.deps.Runtime, string(pod.UID))
	if err != nil {
		return "", err
	}
	if box := v.readySandbox(); box != nil {
		return box.ID, nil
	}
	return "", fmt.Errorf("pod %s has no running sandbox", podName(pod))
}

// Log finds the log that is meant: of the container that runs or ran last, or
// of the one before it.
func (n nodePods) Log(ctx context.Context, pod *v1.Pod, name string, previous bool) (string, <-chan struct{}, func(), error) {
	v, err := observe(ctx, n.k.deps.Runtime, string(pod.UID))
	if err != nil {
		return "", nil, nil, err
	}
	c := v.latest(name)
	if c != nil && !c.running() && !c.ended() { // made, not started: what ran before still has the word
		if before := v.previous(name); before != nil {
			c = before
		}
	}
	if previous {
		if c = previousContainer(pod, &v, name); c == nil {
			return "", nil, nil, fmt.Errorf("previous terminated container %q in pod %q not found", name, pod.Name)
		}
	}
	if c == nil || !c.running() && !c.ended() {
		return "", nil, nil, fmt.Errorf("container %q in pod %q is waiting to start: %s", name, pod.Name, waitingReason(pod, name))
	}
	ended, release := n.k.endings.subscribe(c.ID)
	if fresh, err := n.k.deps.Runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: c.ID}); err != nil ||
		fresh.GetStatus().GetState() != runtimeapi.ContainerState_CONTAINER_RUNNING {
		n.k.endings.ended(c.ID)
	}
	return firstOf(c.LogPath, n.k.containerLog(pod, name, c.Restarts)), ended, release, nil
}

// previousContainer is the container before the current one. One that ended and
// waits to be restarted is itself what the status calls the last state.
func previousContainer(pod *v1.Pod, v *view, name string) *containerRecord {
	current := v.latest(name)
	if s := anyStatusOf(pod, name); s != nil && s.State.Waiting != nil && current.ended() {
		return current
	}
	return v.previous(name)
}

// anyStatusOf is the status of a container of any kind, or nil.
func anyStatusOf(pod *v1.Pod, name string) *v1.ContainerStatus {
	for _, all := range [][]v1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		if s := statusOf(all, name); s != nil {
			return s
		}
	}
	return nil
}

// waitingReason is why a container has no log yet, in upstream's words.
func waitingReason(pod *v1.Pod, name string) string {
	s := anyStatusOf(pod, name)
	if s == nil || s.State.Waiting == nil {
		return reasonCreating
	}
	switch s.State.Waiting.Reason {
	case reasonErrPull:
		return "image can't be pulled"
	case reasonPullBackOff:
		return "trying and failing to pull image"
	}
	return s.State.Waiting.Reason
}

// endings tells who follows a container's log that the container has ended.
type endings struct {
	mu   sync.Mutex
	subs map[string][]*ending
}

type ending struct {
	done chan struct{}
	once sync.Once
}

func newEndings() *endings { return &endings{subs: map[string][]*ending{}} }

func (e *endings) subscribe(id string) (<-chan struct{}, func()) {
	s := &ending{done: make(chan struct{})}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.subs[id] = append(e.subs[id], s)
	return s.done, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		kept := e.subs[id][:0]
		for _, other := range e.subs[id] {
			if other != s {
				kept = append(kept, other)
			}
		}
		if e.subs[id] = kept; len(kept) == 0 {
			delete(e.subs, id)
		}
	}
}

func (e *endings) ended(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.subs[id] {
		s.once.Do(func() { close(s.done) })
	}
}
