package pod

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/registry/rest"
)

// NodeConn tells how to speak to a node's kubelet.
type NodeConn interface {
	Connect(ctx context.Context, node *corev1.Node) (*url.URL, http.RoundTripper, error)
}

// Streams are the subresources of pods that end at the node's kubelet.
type Streams struct {
	Pods, Nodes rest.Getter
	Conn        NodeConn
}

func (s *Streams) pod(ctx context.Context, name string) (*corev1.Pod, error) {
	obj, err := s.Pods.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return obj.(*corev1.Pod), nil
}

// kubelet is the address and the transport for a path of the pod's node.
func (s *Streams) kubelet(ctx context.Context, pod *corev1.Pod, query url.Values, path ...string) (*url.URL, http.RoundTripper, error) {
	if s.Conn == nil {
		return nil, nil, apierrors.NewServiceUnavailable("this server has no connection to kubelets")
	}
	obj, err := s.Nodes.Get(ctx, pod.Spec.NodeName, &metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	base, transport, err := s.Conn.Connect(ctx, obj.(*corev1.Node))
	if err != nil {
		return nil, nil, apierrors.NewInternalError(fmt.Errorf("connecting to the kubelet of node %q: %w", pod.Spec.NodeName, err))
	}
	location := base.JoinPath(path...)
	location.RawQuery = query.Encode()
	return location, transport, nil
}

// container chooses the container that is meant: the one named, or the only one.
func container(name string, pod *corev1.Pod) (string, error) {
	if name != "" {
		if !hasContainer(pod, name) {
			return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
		}
		return name, nil
	}
	switch len(pod.Spec.Containers) {
	case 1:
		return pod.Spec.Containers[0].Name, nil
	case 0:
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s", pod.Name))
	}
	msg := fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s]", pod.Name, strings.Join(names(pod.Spec.Containers), " "))
	if len(pod.Spec.InitContainers) > 0 {
		msg += fmt.Sprintf(" or one of the init containers: [%s]", strings.Join(names(pod.Spec.InitContainers), " "))
	}
	return "", apierrors.NewBadRequest(msg)
}

func names(containers []corev1.Container) []string {
	var list []string
	for _, c := range containers {
		list = append(list, c.Name)
	}
	return list
}

func hasContainer(pod *corev1.Pod, name string) bool {
	if slices.Contains(append(names(pod.Spec.Containers), names(pod.Spec.InitContainers)...), name) {
		return true
	}
	for _, c := range pod.Spec.EphemeralContainers {
		if c.Name == name {
			return true
		}
	}
	return false
}
