package mirror

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	utilnet "k8s.io/utils/net"
)

// maxAddresses bounds the addresses taken from one subset (upstream's value).
const maxAddresses = 1000

// slicesOf turns Endpoints into slices, one per subset and address family.
func slicesOf(e *corev1.Endpoints) []*discoveryv1.EndpointSlice {
	var list []*discoveryv1.EndpointSlice
	for i := range e.Subsets {
		subset := &e.Subsets[i]
		for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
			var endpoints []discoveryv1.Endpoint
			add := func(addresses []corev1.EndpointAddress, ready bool) {
				for k := range addresses {
					six := utilnet.IsIPv6String(addresses[k].IP)
					if six == (family == discoveryv1.AddressTypeIPv6) && len(endpoints) < maxAddresses {
						endpoints = append(endpoints, endpointOf(&addresses[k], ready))
					}
				}
			}
			add(subset.Addresses, true)
			add(subset.NotReadyAddresses, false)
			if len(endpoints) > 0 {
				list = append(list, newSlice(e, family, portsOf(subset.Ports), endpoints))
			}
		}
	}
	return list
}

func endpointOf(a *corev1.EndpointAddress, ready bool) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{
		Addresses: []string{a.IP}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		TargetRef: a.TargetRef, NodeName: a.NodeName,
	}
	if a.Hostname != "" {
		e.Hostname = &a.Hostname
	}
	return e
}

func portsOf(ports []corev1.EndpointPort) []discoveryv1.EndpointPort {
	var list []discoveryv1.EndpointPort
	for i := range ports {
		p := &ports[i]
		list = append(list, discoveryv1.EndpointPort{Name: &p.Name, Port: &p.Port, Protocol: &p.Protocol, AppProtocol: p.AppProtocol})
	}
	return list
}

func newSlice(e *corev1.Endpoints, family discoveryv1.AddressType, ports []discoveryv1.EndpointPort, endpoints []discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	own := maps.Clone(e.Labels)
	if own == nil {
		own = map[string]string{}
	}
	own[discoveryv1.LabelServiceName], own[discoveryv1.LabelManagedBy] = e.Name, manager
	notes := maps.Clone(e.Annotations)
	delete(notes, corev1.EndpointsLastChangeTriggerTime)
	delete(notes, corev1.LastAppliedConfigAnnotation)
	prefix := e.Name + "-"
	name := prefix
	if len(name) > 58 {
		name = name[:58]
	}
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: name + rand.String(5), GenerateName: prefix, Namespace: e.Namespace, Labels: own, Annotations: notes,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(e, corev1.SchemeGroupVersion.WithKind("Endpoints"))},
		},
		AddressType: family, Ports: ports, Endpoints: endpoints,
	}
}
