package endpoints

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilnet "k8s.io/utils/net"

	"go.skiff.dev/skiff/internal/controllers/podstate"
)

// maxAddresses is the most that one Endpoints object holds.
const maxAddresses = 1000

// subsetsOf groups the addresses of the pods by the ports they offer, and
// reports whether some had to be left out.
func subsetsOf(service *corev1.Service, pods []*corev1.Pod) ([]corev1.EndpointSubset, bool) {
	groups := map[string]*corev1.EndpointSubset{}
	for _, pod := range pods {
		address, ok := addressOf(service, pod)
		if !ok || podstate.Terminal(pod) || pod.DeletionTimestamp != nil && !service.Spec.PublishNotReadyAddresses {
			continue
		}
		ports, some := portsOf(service, pod)
		if !some {
			continue
		}
		key := keyOf(ports)
		group := groups[key]
		if group == nil {
			group = &corev1.EndpointSubset{Ports: ports}
			groups[key] = group
		}
		if service.Spec.PublishNotReadyAddresses || podstate.Ready(pod) {
			group.Addresses = append(group.Addresses, address)
		} else {
			group.NotReadyAddresses = append(group.NotReadyAddresses, address)
		}
	}
	keys := make([]string, 0, len(groups))
	for key := range groups {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var list []corev1.EndpointSubset
	for _, key := range keys {
		sortAddresses(groups[key].Addresses)
		sortAddresses(groups[key].NotReadyAddresses)
		list = append(list, *groups[key])
	}
	return truncate(list)
}

// portsOf resolves the Service's ports on one pod. A Service without ports
// (headless) has its addresses still; one whose named ports the pod lacks, not.
func portsOf(service *corev1.Service, pod *corev1.Pod) ([]corev1.EndpointPort, bool) {
	var list []corev1.EndpointPort
	for i := range service.Spec.Ports {
		p := &service.Spec.Ports[i]
		number, ok := targetPort(pod, p)
		if !ok {
			continue
		}
		list = append(list, corev1.EndpointPort{Name: p.Name, Port: number, Protocol: p.Protocol, AppProtocol: p.AppProtocol})
	}
	slices.SortFunc(list, func(a, b corev1.EndpointPort) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Name, b.Name))
	})
	return list, len(list) > 0 || len(service.Spec.Ports) == 0 && service.Spec.ClusterIP == corev1.ClusterIPNone
}

// targetPort finds a number, or the name among the pod's containers and sidecars.
func targetPort(pod *corev1.Pod, p *corev1.ServicePort) (int32, bool) {
	if p.TargetPort.Type == intstr.Int {
		return p.TargetPort.IntVal, true
	}
	find := func(c *corev1.Container) (int32, bool) {
		for _, port := range c.Ports {
			if port.Name == p.TargetPort.StrVal && port.Protocol == p.Protocol {
				return port.ContainerPort, true
			}
		}
		return 0, false
	}
	for i := range pod.Spec.Containers {
		if n, ok := find(&pod.Spec.Containers[i]); ok {
			return n, true
		}
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			if n, ok := find(c); ok {
				return n, true
			}
		}
	}
	return 0, false
}

// addressOf is the pod's address of the Service's first family.
func addressOf(service *corev1.Service, pod *corev1.Pod) (corev1.EndpointAddress, bool) {
	six := len(service.Spec.IPFamilies) > 0 && service.Spec.IPFamilies[0] == corev1.IPv6Protocol
	ips := pod.Status.PodIPs
	if len(ips) == 0 && pod.Status.PodIP != "" {
		ips = []corev1.PodIP{{IP: pod.Status.PodIP}}
	}
	for _, ip := range ips {
		if utilnet.IsIPv6String(ip.IP) != six {
			continue
		}
		address := corev1.EndpointAddress{
			IP:        ip.IP,
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		}
		if pod.Spec.NodeName != "" {
			address.NodeName = &pod.Spec.NodeName
		}
		if pod.Spec.Hostname != "" && pod.Spec.Subdomain == service.Name && service.Namespace == pod.Namespace {
			address.Hostname = pod.Spec.Hostname
		}
		return address, true
	}
	return corev1.EndpointAddress{}, false
}

func keyOf(ports []corev1.EndpointPort) string {
	var b strings.Builder
	for _, p := range ports {
		protocol := ""
		if p.AppProtocol != nil {
			protocol = *p.AppProtocol
		}
		fmt.Fprintf(&b, "%05d/%s/%s/%s;", p.Port, p.Protocol, p.Name, protocol)
	}
	return b.String()
}

func sortAddresses(list []corev1.EndpointAddress) {
	slices.SortFunc(list, func(a, b corev1.EndpointAddress) int {
		return cmp.Or(cmp.Compare(a.IP, b.IP), cmp.Compare(a.TargetRef.UID, b.TargetRef.UID))
	})
}

// truncate keeps the first maxAddresses, all ready ones before any other.
func truncate(list []corev1.EndpointSubset) ([]corev1.EndpointSubset, bool) {
	left, cut := maxAddresses, false
	keep := func(addresses []corev1.EndpointAddress) []corev1.EndpointAddress {
		if len(addresses) > left {
			addresses, cut = addresses[:left], true
		}
		left -= len(addresses)
		return addresses
	}
	for i := range list {
		list[i].Addresses = keep(list[i].Addresses)
	}
	for i := range list {
		list[i].NotReadyAddresses = keep(list[i].NotReadyAddresses)
	}
	return slices.DeleteFunc(list, func(s corev1.EndpointSubset) bool {
		return len(s.Addresses)+len(s.NotReadyAddresses) == 0
	}), cut
}
