package apiserver

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// systemNamespaces are there in every cluster.
func systemNamespaces() []string {
	return []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease}
}

// serviceName is the Service, in namespace default, by which pods find the API.
const serviceName = "kubernetes"

// ensureSystem makes the system's namespaces and the kubernetes Service with
// its endpoints, or mends them.
func (s *Server) ensureSystem(ctx context.Context) error {
	for _, name := range systemNamespaces() {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if _, err := s.client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("creating the namespace %q: %w", name, err)
		}
	}
	if err := s.ensureService(ctx); err != nil {
		return fmt.Errorf("creating the kubernetes Service: %w", err)
	}
	if err := s.ensureEndpoints(ctx); err != nil {
		return fmt.Errorf("creating the endpoints of the kubernetes Service: %w", err)
	}
	if err := s.ensureSlice(ctx); err != nil {
		return fmt.Errorf("creating the endpoint slice of the kubernetes Service: %w", err)
	}
	return nil
}

func (s *Server) ensureService(ctx context.Context) error {
	ip := serviceIP(s.opts.ServiceCIDR).String()
	want := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name:   serviceName,
			Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"},
		},
		Spec: corev1.ServiceSpec{
			Type:            corev1.ServiceTypeClusterIP,
			ClusterIP:       ip,
			ClusterIPs:      []string{ip},
			SessionAffinity: corev1.ServiceAffinityNone,
			Ports: []corev1.ServicePort{{
				Name: "https", Protocol: corev1.ProtocolTCP, Port: 443, TargetPort: intstr.FromInt(s.port),
			}},
		},
	}
	services := s.client.CoreV1().Services(metav1.NamespaceDefault)
	have, err := services.Get(ctx, serviceName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = services.Create(ctx, want, metav1.CreateOptions{})
		return err
	case err != nil:
		return err
	case have.Spec.ClusterIP != ip:
		return fmt.Errorf("it has the address %s, which the service range %s does not begin with; the range of an existing cluster can't change", have.Spec.ClusterIP, s.opts.ServiceCIDR)
	case have.Spec.Type == want.Spec.Type && equality.Semantic.DeepEqual(have.Spec.Ports, want.Spec.Ports):
		return nil
	}
	have.Spec.Type, have.Spec.Ports = want.Spec.Type, want.Spec.Ports
	_, err = services.Update(ctx, have, metav1.UpdateOptions{})
	return err
}

func (s *Server) ensureEndpoints(ctx context.Context) error {
	subsets := []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{{IP: s.nodeIP().String()}},
		Ports:     []corev1.EndpointPort{{Name: "https", Port: int32(s.port), Protocol: corev1.ProtocolTCP}},
	}}
	labels := map[string]string{discoveryv1.LabelSkipMirror: "true"}
	endpoints := s.client.CoreV1().Endpoints(metav1.NamespaceDefault)
	have, err := endpoints.Get(ctx, serviceName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		want := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: serviceName, Labels: labels}, Subsets: subsets}
		_, err = endpoints.Create(ctx, want, metav1.CreateOptions{})
		return err
	case err != nil:
		return err
	case equality.Semantic.DeepEqual(have.Subsets, subsets) && have.Labels[discoveryv1.LabelSkipMirror] == "true":
		return nil
	}
	have.Labels, have.Subsets = labels, subsets
	_, err = endpoints.Update(ctx, have, metav1.UpdateOptions{})
	return err
}

func (s *Server) ensureSlice(ctx context.Context) error {
	ip := s.nodeIP()
	want := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: serviceName, Labels: map[string]string{discoveryv1.LabelServiceName: serviceName}},
		AddressType: addressType(ip),
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{ip.String()}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}},
		Ports:       []discoveryv1.EndpointPort{{Name: new("https"), Protocol: new(corev1.ProtocolTCP), Port: new(int32(s.port))}},
	}
	slices := s.client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault)
	have, err := slices.Get(ctx, serviceName, metav1.GetOptions{})
	if err == nil && have.AddressType != want.AddressType {
		// The address type of a slice can't change.
		if err := slices.Delete(ctx, serviceName, metav1.DeleteOptions{}); err != nil {
			return err
		}
		_, err = slices.Create(ctx, want, metav1.CreateOptions{})
		return err
	}
	switch {
	case apierrors.IsNotFound(err):
		_, err = slices.Create(ctx, want, metav1.CreateOptions{})
		return err
	case err != nil:
		return err
	case equality.Semantic.DeepEqual(have.Endpoints, want.Endpoints) && equality.Semantic.DeepEqual(have.Ports, want.Ports) &&
		have.Labels[discoveryv1.LabelServiceName] == serviceName:
		return nil
	}
	have.Labels, have.Endpoints, have.Ports = want.Labels, want.Endpoints, want.Ports
	_, err = slices.Update(ctx, have, metav1.UpdateOptions{})
	return err
}

func addressType(ip netip.Addr) discoveryv1.AddressType {
	if ip.Is4() {
		return discoveryv1.AddressTypeIPv4
	}
	return discoveryv1.AddressTypeIPv6
}
