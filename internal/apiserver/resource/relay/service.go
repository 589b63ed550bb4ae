package relay

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/registry/rest"
)

// ServiceREST relays to one of a service's ready endpoints:
// services/[SCHEME:]NAME[:PORT]/proxy/PATH.
type ServiceREST struct {
	Services  rest.Getter
	Slices    rest.Lister
	Transport http.RoundTripper
}

var _ rest.Connecter = ServiceREST{}

// New implements rest.Storage.
func (ServiceREST) New() runtime.Object { return &corev1.ServiceProxyOptions{} }

// Destroy implements rest.Storage.
func (ServiceREST) Destroy() {}

// ConnectMethods implements rest.Connecter.
func (ServiceREST) ConnectMethods() []string { return methods() }

// NewConnectOptions implements rest.Connecter.
func (ServiceREST) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.ServiceProxyOptions{}, true, "path"
}

// Connect implements rest.Connecter.
func (r ServiceREST) Connect(ctx context.Context, id string, options runtime.Object, responder rest.Responder) (http.Handler, error) {
	o, ok := options.(*corev1.ServiceProxyOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %#v", options)
	}
	scheme, name, port, valid := utilnet.SplitSchemeNamePort(id)
	if !valid {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid service request %q", id))
	}
	obj, err := r.Services.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	portName, err := findPort(obj.(*corev1.Service), port)
	if err != nil {
		return nil, err
	}
	host, err := r.endpoint(ctx, name, portName)
	if err != nil {
		return nil, err
	}
	return handler(&url.URL{Scheme: scheme, Host: host}, o.Path, r.Transport, responder), nil
}

// findPort is the name of the service's port that is meant by name or number;
// a service with one port needs neither.
func findPort(s *corev1.Service, port string) (string, error) {
	if port == "" && len(s.Spec.Ports) == 1 {
		return s.Spec.Ports[0].Name, nil
	}
	for _, p := range s.Spec.Ports {
		if p.Name == port || strconv.Itoa(int(p.Port)) == port {
			return p.Name, nil
		}
	}
	return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %q found for service %q", port, s.Name))
}

// endpoint chooses one of the ready endpoints.
func (r ServiceREST) endpoint(ctx context.Context, name, port string) (string, error) {
	obj, err := r.Slices.List(ctx, &metainternalversion.ListOptions{
		LabelSelector:   labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: name}),
		ResourceVersion: "0",
	})
	if err != nil {
		return "", err
	}
	var hosts []string
	for _, slice := range obj.(*discoveryv1.EndpointSliceList).Items {
		for _, p := range slice.Ports {
			if p.Port == nil || p.Name == nil || *p.Name != port {
				continue
			}
			for _, e := range slice.Endpoints {
				if len(e.Addresses) > 0 && (e.Conditions.Ready == nil || *e.Conditions.Ready) && reachable(ctx, e.Addresses[0]) == nil {
					hosts = append(hosts, net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(*p.Port))))
				}
			}
		}
	}
	if len(hosts) == 0 {
		return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", name))
	}
	return hosts[rand.IntN(len(hosts))], nil
}
