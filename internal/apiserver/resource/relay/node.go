package relay

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
)

// NodeREST relays to a node's kubelet: nodes/NAME/proxy/PATH.
type NodeREST struct {
	Nodes rest.Getter
	Conn  interface {
		Connect(ctx context.Context, node *corev1.Node) (*url.URL, http.RoundTripper, error)
	}
}

var _ rest.Connecter = NodeREST{}

// New implements rest.Storage.
func (NodeREST) New() runtime.Object { return &corev1.NodeProxyOptions{} }

// Destroy implements rest.Storage.
func (NodeREST) Destroy() {}

// ConnectMethods implements rest.Connecter.
func (NodeREST) ConnectMethods() []string { return methods() }

// NewConnectOptions implements rest.Connecter.
func (NodeREST) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.NodeProxyOptions{}, true, "path"
}

// Connect implements rest.Connecter.
func (r NodeREST) Connect(ctx context.Context, name string, options runtime.Object, responder rest.Responder) (http.Handler, error) {
	o, ok := options.(*corev1.NodeProxyOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %#v", options)
	}
	obj, err := r.Nodes.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	location, transport, err := r.Conn.Connect(ctx, obj.(*corev1.Node))
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("connecting to the kubelet of node %q: %w", name, err))
	}
	return handler(location, o.Path, transport, responder), nil
}
