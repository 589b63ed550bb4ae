package resource

import (
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/utils/clock"

	"go.skiff.dev/skiff/internal/apiserver/resource/pod"
	"go.skiff.dev/skiff/internal/apiserver/resource/service"
	"go.skiff.dev/skiff/internal/apiserver/resource/serviceaccount"
)

// Deps is what the kinds need from the server that serves them.
type Deps struct {
	// Scheme is what NewScheme returned, Codecs what NewCodecs made of it.
	Scheme *runtime.Scheme
	Codecs serializer.CodecFactory
	// RESTOptionsGetter tells where a resource is stored. Its storage factory
	// must have been given StorageSerializer(Codecs).
	RESTOptionsGetter generic.RESTOptionsGetter

	// ServiceCIDRs are one range of cluster addresses per IP family, the
	// primary family first.
	ServiceCIDRs []netip.Prefix
	// NodePorts is the range of node ports; the zero value means 30000-32767.
	NodePorts PortRange

	// NodeConn reaches kubelets, for log, exec, attach, port-forward and proxy.
	NodeConn NodeConn
	// TokenIssuer signs service account tokens; nil answers 404 for them.
	TokenIssuer TokenIssuer

	// EventTTL is how long events are kept; zero means an hour.
	EventTTL time.Duration
	// Clock is the source of time; nil means the real one.
	Clock clock.PassiveClock
}

// PortRange is a range of ports, both ends included.
type PortRange = service.PortRange

// NodeConn tells how to speak to a node's kubelet: Connect returns the base
// address of the kubelet (for example https://192.0.2.7:10250) and the
// transport, with the client certificate of the API server, to use for it.
type NodeConn = pod.NodeConn

// TokenIssuer signs tokens of service accounts.
type TokenIssuer = serviceaccount.TokenIssuer

// TokenRequest is what a TokenIssuer is asked for.
type TokenRequest = serviceaccount.TokenRequest
