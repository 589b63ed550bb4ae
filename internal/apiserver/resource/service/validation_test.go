package service

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

func texts(errs field.ErrorList) []string {
	var list []string
	for _, e := range errs {
		list = append(list, strings.TrimSuffix(e.Field+": "+e.Type.String()+": "+e.Detail, ": "))
	}
	return list
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name, spec string
		want       []string
	}{
		{"the least", `ports: [{port: 80}]`, nil},
		{"no ports", `{}`, []string{"spec.ports: Required value"}},
		{"headless without ports", `clusterIP: None`, nil},
		{"names", `ports: [{port: 80}, {name: b, port: 81}]`, []string{"spec.ports[0].name: Required value"}},
		{"names twice", `ports: [{name: a, port: 80}, {name: a, port: 81}]`, []string{"spec.ports[1].name: Duplicate value"}},
		{"ports twice", `ports: [{name: a, port: 80}, {name: b, port: 80}]`, []string{"spec.ports[1]: Duplicate value"}},
		{"port", `ports: [{port: 0}]`, []string{"spec.ports[0].port: Invalid value: must be between 1 and 65535, inclusive", "spec.ports[0].targetPort: Invalid value: must be between 1 and 65535, inclusive"}},
		{"protocol", `ports: [{port: 80, protocol: tcp}]`, []string{`spec.ports[0].protocol: Unsupported value: supported values: "SCTP", "TCP", "UDP"`}},
		{"target", `ports: [{port: 80, targetPort: _}]`, []string{"spec.ports[0].targetPort: Invalid value: must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)", "spec.ports[0].targetPort: Invalid value: must contain at least one letter (a-z)"}},
		{"node port of a cluster IP", `ports: [{port: 80, nodePort: 30000}]`, []string{"spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"}},
		{"type", `{type: Magic, ports: [{port: 80}]}`, []string{`spec.type: Unsupported value: supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"`}},
		{"headless node port", `{type: NodePort, clusterIP: None, ports: [{port: 80}]}`, []string{"spec.clusterIPs[0]: Invalid value: may not be set to 'None' for NodePort services"}},
		{"no external name", `type: ExternalName`, []string{"spec.externalName: Required value"}},
		{"external name", `{type: ExternalName, externalName: example.com.}`, nil},
		{"affinity", `{sessionAffinity: Love, ports: [{port: 80}]}`, []string{`spec.sessionAffinity: Unsupported value: supported values: "ClientIP", "None"`}},
		{"affinity for ever", `{sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}, ports: [{port: 80}]}`, []string{"spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: must be greater than 0 and less than 86400"}},
		{"address", `{clusterIP: x, ports: [{port: 80}]}`, []string{"spec.clusterIPs[0]: Invalid value: must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"}},
		{"external traffic", `{externalTrafficPolicy: Local, ports: [{port: 80}]}`, []string{"spec.externalTrafficPolicy: Invalid value: may only be set for externally-accessible services"}},
		{"internal traffic", `{internalTrafficPolicy: Some, ports: [{port: 80}]}`, []string{`spec.internalTrafficPolicy: Unsupported value: supported values: "Cluster", "Local"`}},
		{"external address", `{externalIPs: [127.0.0.1], ports: [{port: 80}]}`, []string{"spec.externalIPs[0]: Invalid value: may not be in the loopback range (127.0.0.0/8, ::1/128)"}},
		{"kubelet's port", `{type: LoadBalancer, ports: [{port: 10250}]}`, []string{"spec.ports[0]: Invalid value: may not expose port 10250 externally since it is used by kubelet"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &corev1.Service{}
			if err := yaml.UnmarshalStrict([]byte(c.spec), &s.Spec); err != nil {
				t.Fatal(err)
			}
			Default(s)
			normalize(s, nil)
			if got := texts(validate(context.Background(), s)); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	for spec, want := range map[string]string{
		`{ports: [{port: 80}]}`:                                         "",
		`{ports: [{port: 80}], externalIPs: [1.2.3.4]}`:                 "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
		`{clusterIP: None, sessionAffinity: ClientIP}`:                  "spec.SessionAffinity is ignored for headless services",
		`{ports: [{port: 80}], externalName: a.b}`:                      `spec.externalName is ignored when spec.type is not "ExternalName"`,
		`{trafficDistribution: PreferClose}`:                            `spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"`,
		`{clusterIP: 010.43.0.9}`:                                       `spec.clusterIPs[0]: non-standard IP address "010.43.0.9" is invalid: use "10.43.0.9"`,
		`{type: LoadBalancer, loadBalancerSourceRanges: [01.2.3.0/24]}`: `spec.loadBalancerSourceRanges[0]: non-standard CIDR value "01.2.3.0/24" is invalid: use "1.2.3.0/24"`,
	} {
		s := &corev1.Service{}
		if err := yaml.UnmarshalStrict([]byte(spec), &s.Spec); err != nil {
			t.Fatal(err)
		}
		Default(s)
		normalize(s, nil)
		if got := strings.Join(warnings(s), "; "); got != want {
			t.Errorf("%s:\ngot  %q\nwant %q", spec, got, want)
		}
	}
}

func TestStatusOfBalancer(t *testing.T) {
	for _, c := range []struct {
		service string
		want    []string
	}{
		{`{spec: {type: LoadBalancer}, status: {loadBalancer: {ingress: [{ip: 1.2.3.4}, {hostname: a.b}]}}}`, nil},
		{`{spec: {type: LoadBalancer}, status: {loadBalancer: {ingress: [{hostname: 1.2.3.4}]}}}`, []string{"status.loadBalancer.ingress[0].hostname: Invalid value: must be a DNS name, not an IP address"}},
		{`{spec: {type: NodePort}, status: {loadBalancer: {ingress: [{hostname: _}]}}}`, []string{"status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"}},
	} {
		s := &corev1.Service{}
		if err := yaml.UnmarshalStrict([]byte(c.service), s); err != nil {
			t.Fatal(err)
		}
		Default(s)
		if got := texts(validateStatus(context.Background(), s, s)); !slices.Equal(got, c.want) {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
		if in := s.Status.LoadBalancer.Ingress[0]; in.IP != "" && (in.IPMode == nil || *in.IPMode != corev1.LoadBalancerIPModeVIP) {
			t.Errorf("an address has no mode: %+v", in)
		}
	}
	s := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, ExternalIPs: []string{"9.9.9.9"}}}
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "2.2.2.2"}, {IP: "1.1.1.1"}, {IP: "2.2.2.2"}}
	if got := externalIP(s); got != "1.1.1.1,2.2.2.2,9.9.9.9" {
		t.Errorf("addresses shown: %s", got)
	}
}

func TestPool(t *testing.T) {
	p := addressPool(netip.MustParsePrefix("10.43.0.0/16"))
	if p.size != 65534 || p.reserved != 256 || p.value(0) != "10.43.0.1" || p.value(p.size-1) != "10.43.255.254" {
		t.Errorf("%d, %d, %s, %s", p.size, p.reserved, p.value(0), p.value(p.size-1))
	}
	for ip, want := range map[string]bool{"10.43.0.0": false, "10.43.0.1": true, "10.43.255.255": false, "10.44.0.1": false} {
		if p.contains(netip.MustParseAddr(ip)) != want {
			t.Errorf("%s: %t", ip, !want)
		}
	}
	p = addressPool(netip.MustParsePrefix("fd00::/108"))
	if p.size != 1<<20-1 || p.value(p.size-1) != "fd00::f:ffff" {
		t.Errorf("%d, %s", p.size, p.value(p.size-1))
	}
	ports := portPool(PortRange{30000, 32767})
	if ports.size != 2768 || ports.reserved != 86 || ports.value(0) != "30000" {
		t.Errorf("%+v", ports)
	}
}
