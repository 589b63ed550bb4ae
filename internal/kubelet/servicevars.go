package kubelet

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// serviceVariables are the variables of the services of the pod's namespace,
// and of the kubernetes service for every pod.
func (k *Kubelet) serviceVariables(pod *v1.Pod) map[string]string {
	vars := map[string]string{}
	master := k.masterService()
	addServiceVariables(vars, master)
	if pod.Spec.EnableServiceLinks != nil && !*pod.Spec.EnableServiceLinks {
		return vars
	}
	services, err := k.services.Services(pod.Namespace).List(labels.Everything())
	if err != nil {
		return vars
	}
	slices.SortFunc(services, func(a, b *v1.Service) int { return strings.Compare(a.Name, b.Name) })
	for _, s := range services {
		if s.Spec.ClusterIP != "" && s.Spec.ClusterIP != v1.ClusterIPNone && s.Spec.Type != v1.ServiceTypeExternalName {
			addServiceVariables(vars, s)
		}
	}
	return vars
}

// masterService is the kubernetes Service, or what it will be: the first pods
// may start before it has been seen.
func (k *Kubelet) masterService() *v1.Service {
	if s, err := k.services.Services(v1.NamespaceDefault).Get("kubernetes"); err == nil && s.Spec.ClusterIP != "" {
		return s
	}
	s := &v1.Service{}
	s.Name = "kubernetes"
	s.Spec.ClusterIP = k.deps.APIServer.Addr().String()
	s.Spec.Ports = []v1.ServicePort{{Name: "https", Protocol: v1.ProtocolTCP, Port: int32(k.deps.APIServer.Port())}}
	return s
}

// addServiceVariables adds a service's variables: those of Kubernetes and those
// of Docker's links.
func addServiceVariables(vars map[string]string, s *v1.Service) {
	if len(s.Spec.Ports) == 0 {
		return
	}
	prefix := variableName(s.Name)
	ip := s.Spec.ClusterIP
	vars[prefix+"_SERVICE_HOST"] = ip
	vars[prefix+"_SERVICE_PORT"] = strconv.Itoa(int(s.Spec.Ports[0].Port))
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		port := strconv.Itoa(int(p.Port))
		if p.Name != "" {
			vars[prefix+"_SERVICE_PORT_"+variableName(p.Name)] = port
		}
		proto := string(v1.ProtocolTCP)
		if p.Protocol != "" {
			proto = string(p.Protocol)
		}
		url := fmt.Sprintf("%s://%s", strings.ToLower(proto), net.JoinHostPort(ip, port))
		if i == 0 {
			vars[prefix+"_PORT"] = url
		}
		link := fmt.Sprintf("%s_PORT_%s_%s", prefix, port, strings.ToUpper(proto))
		vars[link] = url
		vars[link+"_PROTO"] = strings.ToLower(proto)
		vars[link+"_PORT"] = port
		vars[link+"_ADDR"] = ip
	}
}

func variableName(name string) string {
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}
