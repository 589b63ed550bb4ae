package pod

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/registry/rest"
	streamproxy "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// What exec, attach and port-forward share: they upgrade the connection and
// join it with one to the kubelet. Websocket clients of the newer protocols
// (v5.channel.k8s.io, SPDY/3.1+portforward.k8s.io) are translated here, since
// kubelets speak SPDY.

func streamMethods() []string { return []string{"GET", "POST"} }

// ExecREST runs a command in a container: pods/NAME/exec.
type ExecREST struct{ *Streams }

// AttachREST joins the streams of a container's process: pods/NAME/attach.
type AttachREST struct{ *Streams }

// PortForwardREST reaches ports inside of a pod: pods/NAME/portforward.
type PortForwardREST struct{ *Streams }

var (
	_ rest.Connecter = ExecREST{}
	_ rest.Connecter = AttachREST{}
	_ rest.Connecter = PortForwardREST{}
)

// New implements rest.Storage.
func (ExecREST) New() runtime.Object { return &corev1.PodExecOptions{} }

// Destroy implements rest.Storage.
func (ExecREST) Destroy() {}

// ConnectMethods implements rest.Connecter.
func (ExecREST) ConnectMethods() []string { return streamMethods() }

// NewConnectOptions implements rest.Connecter.
func (ExecREST) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.PodExecOptions{}, false, ""
}

// Connect implements rest.Connecter.
func (r ExecREST) Connect(ctx context.Context, name string, options runtime.Object, responder rest.Responder) (http.Handler, error) {
	o, ok := options.(*corev1.PodExecOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %#v", options)
	}
	location, transport, err := r.locate(ctx, name, "exec", o.Container, streams(o.Stdin, o.Stdout, o.Stderr, o.TTY, o.Command...))
	if err != nil {
		return nil, err
	}
	return translated(location, transport, responder, streamproxy.Options{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY}), nil
}

// New implements rest.Storage.
func (AttachREST) New() runtime.Object { return &corev1.PodAttachOptions{} }

// Destroy implements rest.Storage.
func (AttachREST) Destroy() {}

// ConnectMethods implements rest.Connecter.
func (AttachREST) ConnectMethods() []string { return streamMethods() }

// NewConnectOptions implements rest.Connecter.
func (AttachREST) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.PodAttachOptions{}, false, ""
}

// Connect implements rest.Connecter.
func (r AttachREST) Connect(ctx context.Context, name string, options runtime.Object, responder rest.Responder) (http.Handler, error) {
	o, ok := options.(*corev1.PodAttachOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %#v", options)
	}
	location, transport, err := r.locate(ctx, name, "attach", o.Container, streams(o.Stdin, o.Stdout, o.Stderr, o.TTY))
	if err != nil {
		return nil, err
	}
	return translated(location, transport, responder, streamproxy.Options{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY}), nil
}

// locate finds the kubelet's address of exec or attach.
func (s *Streams) locate(ctx context.Context, name, path, want string, query url.Values) (*url.URL, http.RoundTripper, error) {
	pod, err := s.pod(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	chosen, err := container(want, pod)
	if err != nil {
		return nil, nil, err
	}
	if pod.Spec.NodeName == "" {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", name))
	}
	return s.kubelet(ctx, pod, query, path, pod.Namespace, pod.Name, chosen)
}

// streams are the options of exec and attach in the kubelet's spelling.
func streams(stdin, stdout, stderr, tty bool, command ...string) url.Values {
	q := url.Values{}
	for name, on := range map[string]bool{
		corev1.ExecStdinParam: stdin, corev1.ExecStdoutParam: stdout, corev1.ExecStderrParam: stderr, corev1.ExecTTYParam: tty,
	} {
		if on {
			q.Set(name, "1")
		}
	}
	q[corev1.ExecCommandParam] = command
	return q
}

// New implements rest.Storage.
func (PortForwardREST) New() runtime.Object { return &corev1.PodPortForwardOptions{} }

// Destroy implements rest.Storage.
func (PortForwardREST) Destroy() {}

// ConnectMethods implements rest.Connecter.
func (PortForwardREST) ConnectMethods() []string { return streamMethods() }

// NewConnectOptions implements rest.Connecter.
func (PortForwardREST) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.PodPortForwardOptions{}, false, ""
}

// Connect implements rest.Connecter.
func (r PortForwardREST) Connect(ctx context.Context, name string, options runtime.Object, responder rest.Responder) (http.Handler, error) {
	o, ok := options.(*corev1.PodPortForwardOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %#v", options)
	}
	pod, err := r.pod(ctx, name)
	if err != nil {
		return nil, err
	}
	if pod.Spec.NodeName == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", name))
	}
	query := url.Values{}
	if len(o.Ports) > 0 {
		var ports []string
		for _, p := range o.Ports {
			ports = append(ports, strconv.Itoa(int(p)))
		}
		query.Set(corev1.PortHeader, strings.Join(ports, ","))
	}
	location, transport, err := r.kubelet(ctx, pod, query, "portForward", pod.Namespace, pod.Name)
	if err != nil {
		return nil, err
	}
	handler := upgrading(location, transport, responder)
	return streamproxy.NewTranslatingHandler(handler, streamproxy.NewTunnelingHandler(handler), wsstream.IsWebSocketRequestWithTunnelingProtocol), nil
}

func upgrading(location *url.URL, transport http.RoundTripper, responder rest.Responder) *proxy.UpgradeAwareHandler {
	return proxy.NewUpgradeAwareHandler(location, transport, false, true, proxy.NewErrorResponder(responder))
}

func translated(location *url.URL, transport http.RoundTripper, responder rest.Responder, o streamproxy.Options) http.Handler {
	handler := upgrading(location, transport, responder)
	translator := streamproxy.NewStreamTranslatorHandler(location, transport, 0, o)
	return streamproxy.NewTranslatingHandler(handler, translator, wsstream.IsWebSocketRequestWithStreamCloseProtocol)
}
