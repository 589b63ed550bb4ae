package relay

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/registry/rest"
)

// PodREST relays to a port of a pod: pods/[SCHEME:]NAME[:PORT]/proxy/PATH.
type PodREST struct {
	Pods      rest.Getter
	Transport http.RoundTripper
}

var _ rest.Connecter = PodREST{}

// New implements rest.Storage.
func (PodREST) New() runtime.Object { return &corev1.PodProxyOptions{} }

// Destroy implements rest.Storage.
func (PodREST) Destroy() {}

// ConnectMethods implements rest.Connecter.
func (PodREST) ConnectMethods() []string { return methods() }

// NewConnectOptions implements rest.Connecter.
func (PodREST) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.PodProxyOptions{}, true, "path"
}

// Connect implements rest.Connecter.
func (r PodREST) Connect(ctx context.Context, id string, options runtime.Object, responder rest.Responder) (http.Handler, error) {
	o, ok := options.(*corev1.PodProxyOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %#v", options)
	}
	scheme, name, port, valid := utilnet.SplitSchemeNamePort(id)
	if !valid {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid pod request %q", id))
	}
	obj, err := r.Pods.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	pod := obj.(*corev1.Pod)
	if pod.Status.PodIP == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have an address", name))
	}
	if err := reachable(ctx, pod.Status.PodIP); err != nil {
		return nil, err
	}
	return handler(&url.URL{Scheme: scheme, Host: podHost(pod, port)}, o.Path, r.Transport, responder), nil
}

// podHost is the pod's address with the port, by default the first that a
// container declares.
func podHost(pod *corev1.Pod, port string) string {
	if port == "" {
		for _, c := range pod.Spec.Containers {
			if len(c.Ports) > 0 {
				port = strconv.Itoa(int(c.Ports[0].ContainerPort))
				break
			}
		}
	}
	if port == "" {
		return pod.Status.PodIP
	}
	return net.JoinHostPort(pod.Status.PodIP, port)
}
