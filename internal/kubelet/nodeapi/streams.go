package nodeapi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// Times of streams, as upstream: how long one may be idle, and how long a
// client has to open its parts.
const (
	idleTimeout     = 4 * time.Hour
	creationTimeout = 30 * time.Second
)

// target finds the pod of a request; it answers the request if there is none.
func (s *Server) target(w http.ResponseWriter, r *http.Request) *v1.Pod {
	namespace, name := r.PathValue("namespace"), r.PathValue("pod")
	pod := s.deps.Pods.Pod(namespace, name, r.PathValue("uid"))
	if pod == nil {
		http.Error(w, fmt.Sprintf("pod %q in namespace %q does not exist", name, namespace), http.StatusNotFound)
	}
	return pod
}

// container finds the running container of a request.
func (s *Server) container(w http.ResponseWriter, r *http.Request) (pod *v1.Pod, id string) {
	if pod = s.target(w, r); pod == nil {
		return nil, ""
	}
	name := r.PathValue("container")
	if !hasContainer(pod, name) {
		http.Error(w, fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name), http.StatusBadRequest)
		return pod, ""
	}
	id, err := s.deps.Pods.Container(r.Context(), pod, name)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return pod, ""
	}
	return pod, id
}

func hasContainer(pod *v1.Pod, name string) bool {
	for _, c := range pod.Spec.InitContainers {
		if c.Name == name {
			return true
		}
	}
	for _, c := range pod.Spec.Containers {
		if c.Name == name {
			return true
		}
	}
	for _, c := range pod.Spec.EphemeralContainers {
		if c.Name == name {
			return true
		}
	}
	return false
}

func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	pod, id := s.container(w, r)
	if id == "" {
		return
	}
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, streams{s, id}, pod.Name, string(pod.UID), id, r.Form["command"], options,
		idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	pod, id := s.container(w, r)
	if id == "" {
		return
	}
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeAttach(w, r, streams{s, id}, pod.Name, string(pod.UID), id, options,
		idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	pod := s.target(w, r)
	if pod == nil {
		return
	}
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id, err := s.deps.Pods.Sandbox(r.Context(), pod)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	portforward.ServePortForward(w, r, streams{s, id}, pod.Name, string(pod.UID), options,
		idleTimeout, creationTimeout, portforward.SupportedProtocols)
}

// streams hands streams to the container layer. The identifier was resolved
// when the request came, so names play no part any more.
type streams struct {
	s  *Server
	id string
}

func (t streams) ExecInContainer(ctx context.Context, _, _, _ string, cmd []string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	return t.s.deps.Streaming.Exec(ctx, t.id, cmd, in, out, errOut, tty, resize)
}

func (t streams) AttachContainer(ctx context.Context, _, _, _ string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	return t.s.deps.Streaming.Attach(ctx, t.id, in, out, errOut, tty, resize)
}

func (t streams) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	return t.s.deps.Streaming.PortForward(ctx, t.id, port, stream)
}
