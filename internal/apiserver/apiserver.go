// Package apiserver serves the Kubernetes API of one skiff: it assembles
// k8s.io/apiserver with our store, our certificates, the kinds of package
// resource, authentication, authorisation and admission.
//
// Parts of the same process call it through Server.ClientConfig, which needs
// neither TLS nor a socket, and share one set of informers (Server.Informers),
// so that each object is held once.
package apiserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"go.skiff.dev/skiff/internal/config"
	"go.skiff.dev/skiff/internal/lifecycle"
	"go.skiff.dev/skiff/internal/pki"
	"go.skiff.dev/skiff/internal/store"
)

// Users and groups of skiff's own parts.
const (
	adminUser     = "skiff-admin"
	mastersGroup  = "system:masters"
	apiserverUser = "system:apiserver"
)

// Options is what the API server needs to know.
type Options struct {
	Store     *store.Store
	Authority *pki.Authority

	// Bind is the address to listen on; the zero value means all of the
	// host's. Port is the TCP port; zero picks a free one (tests).
	Bind netip.Addr
	Port int

	// NodeName and NodeIP are this machine's name and address; they go into
	// the serving certificate and the endpoints of the kubernetes Service.
	NodeName string
	NodeIP   netip.Addr

	ServiceCIDR   netip.Prefix
	NodePorts     config.PortRange
	ClusterDomain string

	// Log is the server's log. Nil means slog.Default.
	Log *slog.Logger
}

// Server is one API server.
type Server struct {
	opts      Options
	log       *slog.Logger
	scheme    *runtime.Scheme
	codecs    serializer.CodecFactory
	local     *localTransport
	client    kubernetes.Interface
	informers informers.SharedInformerFactory
	port      int
	cert      *servingCert
	mending   chan struct{}

	mu       sync.Mutex
	nodeAddr netip.Addr
}

// New checks the options and prepares a server. It is cheap: the work is done
// in the component's Run. ClientConfig and Informers may be used at once;
// requests wait until the server is there.
func New(ctx context.Context, opts Options) (*Server, error) {
	switch {
	case opts.Store == nil || opts.Authority == nil:
		return nil, errors.New("preparing the API server: a store and an authority are needed")
	case !opts.NodeIP.IsValid():
		return nil, errors.New("preparing the API server: the node's address is needed")
	case !opts.ServiceCIDR.IsValid():
		return nil, errors.New("preparing the API server: the range of service addresses is needed")
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	s := &Server{opts: opts, log: opts.Log.With("component", "apiserver"), port: opts.Port,
		local: newLocalTransport(), mending: make(chan struct{}, 1), nodeAddr: opts.NodeIP}
	s.scheme, s.codecs = newScheme()
	var err error
	if s.client, err = kubernetes.NewForConfig(s.ClientConfig(apiserverUser, mastersGroup)); err != nil {
		return nil, fmt.Errorf("preparing the API server's own client: %w", err)
	}
	s.informers = informers.NewSharedInformerFactoryWithOptions(s.client, 0, informers.WithTransform(dropManagedFields))
	return s, nil
}

// Component is the server's life: "apiserver", after "store". It is ready when
// /readyz answers ok and the system's own objects are there.
func (s *Server) Component() lifecycle.Component {
	return lifecycle.Component{Name: "apiserver", Needs: []string{"store"}, Run: s.run, StopTimeout: 15 * time.Second}
}

// ClientConfig returns a client configuration that calls this server inside the
// process, as the given user and groups (system:authenticated is added). The
// wire format is protobuf for kinds that have it; no client-side rate limit.
// No client outside of the process can claim an identity this way.
func (s *Server) ClientConfig(user string, groups ...string) *rest.Config {
	return s.local.config(user, groups)
}

// Informers is the process's one set of informers. Objects in it carry no
// managedFields (sending such an object in an update keeps the fields' owners).
// Ask it for informers before the server is ready, or call Start again.
func (s *Server) Informers() informers.SharedInformerFactory { return s.informers }

// Client is the client behind the informers, with all rights.
func (s *Server) Client() kubernetes.Interface { return s.client }

// Handler returns the whole handler chain for requests from outside:
// authentication, authorisation and the API. It waits until the server is built.
func (s *Server) Handler(ctx context.Context) (http.Handler, error) {
	b, err := s.local.wait(ctx)
	if err != nil {
		return nil, err
	}
	return b.outside, nil
}

// Port is the TCP port the server listens on, once the component is ready.
func (s *Server) Port() int { return s.port }
