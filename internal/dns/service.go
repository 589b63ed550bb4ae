package dns

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The names by which clients look for the cluster's DNS.
const (
	serviceNamespace = "kube-system"
	serviceName      = "kube-dns"
)

// publish makes the Service object of the cluster's DNS and the slice with this
// server's address. Names are answered without them: they hold the address, so
// that no other Service is given it, and show where it leads.
func (s *Server) publish(ctx context.Context) error {
	services := s.deps.Client.CoreV1().Services(serviceNamespace)
	service, err := services.Create(ctx, s.service(), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		service, err = services.Get(ctx, serviceName, metav1.GetOptions{})
	}
	if err != nil {
		return fmt.Errorf("making the Service %s/%s for %s: %w", serviceNamespace, serviceName, s.deps.ClusterIP, err)
	}
	if service.Spec.ClusterIP != s.deps.ClusterIP.String() {
		s.log.Warn("the Service of the cluster's DNS has another address than the pods are told", "service", service.Spec.ClusterIP, "pods", s.deps.ClusterIP.String())
	}
	slices := s.deps.Client.DiscoveryV1().EndpointSlices(serviceNamespace)
	slice := s.slice(service)
	_, err = slices.Create(ctx, slice, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = slices.Update(ctx, slice, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("publishing the address of the cluster's DNS: %w", err)
	}
	return nil
}

func labels() map[string]string {
	return map[string]string{"k8s-app": serviceName, "kubernetes.io/name": "CoreDNS", "kubernetes.io/cluster-service": "true"}
}

func (s *Server) service() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: serviceNamespace, Name: serviceName, Labels: labels()},
		Spec: corev1.ServiceSpec{
			ClusterIP: s.deps.ClusterIP.String(),
			Ports: []corev1.ServicePort{
				{Name: "dns", Port: port, Protocol: corev1.ProtocolUDP, TargetPort: intstr.FromInt32(port)},
				{Name: "dns-tcp", Port: port, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(port)},
			},
		},
	}
}

func (s *Server) slice(service *corev1.Service) *discoveryv1.EndpointSlice {
	names := [2]string{"dns", "dns-tcp"}
	protocols := [2]corev1.Protocol{corev1.ProtocolUDP, corev1.ProtocolTCP}
	at, ready := int32(s.Address().Port()), true
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: serviceNamespace, Name: serviceName,
			Labels:          map[string]string{discoveryv1.LabelServiceName: serviceName, discoveryv1.LabelManagedBy: "dns.skiff.dev"},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(service, corev1.SchemeGroupVersion.WithKind("Service"))},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{s.deps.Listen.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	}
	for i := range names {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &names[i], Protocol: &protocols[i], Port: &at})
	}
	return slice
}
