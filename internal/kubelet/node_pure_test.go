package kubelet

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/kubelet/nodeapi"
)

func TestExpand(t *testing.T) {
	values := map[string]string{"A": "1", "B": "$(A)"}
	lookup := func(name string) (string, bool) { v, ok := values[name]; return v, ok }
	for in, want := range map[string]string{
		"":          "",
		"plain":     "plain",
		"$(A)":      "1",
		"x$(A)y":    "x1y",
		"$(B)":      "$(A)", // values are not expanded again
		"$(C)":      "$(C)",
		"$$(A)":     "$(A)",
		"$$$(A)":    "$1",
		"$":         "$",
		"$(":        "$(",
		"a$(A":      "a$(A",
		"$A":        "$A",
		"$(A)$(A)":  "11",
		"$$":        "$",
		"100$ off":  "100$ off",
		"$(A) $(Z)": "1 $(Z)",
	} {
		if got := expand(in, lookup); got != want {
			t.Errorf("expand(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestServiceVariables(t *testing.T) {
	s := &v1.Service{}
	s.Name = "my-db"
	s.Spec.ClusterIP = "10.43.0.7"
	s.Spec.Ports = []v1.ServicePort{{Name: "sql", Port: 5432}, {Name: "stats", Port: 80, Protocol: v1.ProtocolUDP}}
	vars := map[string]string{}
	addServiceVariables(vars, s)
	want := map[string]string{
		"MY_DB_SERVICE_HOST": "10.43.0.7", "MY_DB_SERVICE_PORT": "5432", "MY_DB_SERVICE_PORT_SQL": "5432", "MY_DB_SERVICE_PORT_STATS": "80",
		"MY_DB_PORT":          "tcp://10.43.0.7:5432",
		"MY_DB_PORT_5432_TCP": "tcp://10.43.0.7:5432", "MY_DB_PORT_5432_TCP_PROTO": "tcp", "MY_DB_PORT_5432_TCP_PORT": "5432", "MY_DB_PORT_5432_TCP_ADDR": "10.43.0.7",
		"MY_DB_PORT_80_UDP": "udp://10.43.0.7:80", "MY_DB_PORT_80_UDP_PROTO": "udp", "MY_DB_PORT_80_UDP_PORT": "80", "MY_DB_PORT_80_UDP_ADDR": "10.43.0.7",
	}
	if d := cmp.Diff(want, vars); d != "" {
		t.Error(d)
	}
}

func TestResolvConf(t *testing.T) {
	host := parseResolvConf("# comment\nnameserver 192.0.2.53\nnameserver 198.51.100.53\ndomain old.example\nsearch example.org corp.example. \noptions timeout:2\n")
	r := resolver{dns: netip.MustParseAddr("10.43.0.10"), domain: "cluster.local", host: func() hostDNS { return host }}
	two := "2"
	custom := &v1.PodDNSConfig{Nameservers: []string{"203.0.113.1"}, Searches: []string{"mine.example"}, Options: []v1.PodDNSConfigOption{{Name: "ndots", Value: &two}, {Name: "edns0"}}}
	for name, c := range map[string]struct {
		policy  v1.DNSPolicy
		host    bool
		config  *v1.PodDNSConfig
		servers string
		search  string
		options string
	}{
		"ClusterFirst":               {policy: v1.DNSClusterFirst, servers: "10.43.0.10", search: "ns.svc.cluster.local svc.cluster.local cluster.local example.org corp.example", options: "ndots:5"},
		"ClusterFirst on the host":   {policy: v1.DNSClusterFirst, host: true, servers: "192.0.2.53 198.51.100.53", search: "example.org corp.example", options: "timeout:2"},
		"ClusterFirstWithHostNet":    {policy: v1.DNSClusterFirstWithHostNet, host: true, servers: "10.43.0.10", search: "ns.svc.cluster.local svc.cluster.local cluster.local example.org corp.example", options: "ndots:5"},
		"Default":                    {policy: v1.DNSDefault, servers: "192.0.2.53 198.51.100.53", search: "example.org corp.example", options: "timeout:2"},
		"None":                       {policy: v1.DNSNone, config: custom, servers: "203.0.113.1", search: "mine.example", options: "ndots:2 edns0"},
		"ClusterFirst and dnsConfig": {policy: v1.DNSClusterFirst, config: custom, servers: "10.43.0.10 203.0.113.1", search: "ns.svc.cluster.local svc.cluster.local cluster.local example.org corp.example mine.example", options: "ndots:2 edns0"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &v1.Pod{}
			pod.Namespace = "ns"
			pod.Spec.DNSPolicy, pod.Spec.HostNetwork, pod.Spec.DNSConfig = c.policy, c.host, c.config
			got, omitted := r.config(pod)
			if len(omitted) > 0 {
				t.Errorf("omitted: %q", omitted)
			}
			if s := strings.Join(got.Servers, " "); s != c.servers {
				t.Errorf("servers %q, want %q", s, c.servers)
			}
			if s := strings.Join(got.Searches, " "); s != c.search {
				t.Errorf("search %q, want %q", s, c.search)
			}
			if s := strings.Join(got.Options, " "); s != c.options {
				t.Errorf("options %q, want %q", s, c.options)
			}
		})
	}
}

func TestResolvConfLimits(t *testing.T) {
	r := resolver{host: func() hostDNS { return hostDNS{} }}
	pod := &v1.Pod{}
	pod.Spec.DNSPolicy = v1.DNSNone
	pod.Spec.DNSConfig = &v1.PodDNSConfig{Nameservers: []string{"192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3"}}
	for i := range maxSearches {
		pod.Spec.DNSConfig.Searches = append(pod.Spec.DNSConfig.Searches, strings.Repeat("x", 20+i)+".example")
	}
	if c, omitted := r.config(pod); len(omitted) > 0 || len(c.Servers) != maxServers || len(c.Searches) != maxSearches {
		t.Errorf("as much as there may be: %v, omitted %q", c, omitted)
	}
	pod.Spec.DNSConfig.Nameservers = append(pod.Spec.DNSConfig.Nameservers, "192.0.2.4")
	pod.Spec.DNSConfig.Searches = []string{strings.Repeat("x", maxSearch-2), "y", "z"}
	c, omitted := r.config(pod)
	want := []string{
		"Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: 192.0.2.1 192.0.2.2 192.0.2.3",
		"Search Line limits were exceeded, some search paths have been omitted, the applied search line is: " + strings.Repeat("x", maxSearch-2) + " y",
	}
	if d := cmp.Diff(want, omitted); d != "" || len(c.Servers) != 3 || len(c.Searches) != 2 {
		t.Errorf("%d servers, %d searches, %s", len(c.Servers), len(c.Searches), d)
	}
}

func TestResources(t *testing.T) {
	pod := podOfNames("Always", "a", "b")
	list := func(cpu, memory string) v1.ResourceList {
		return v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu), v1.ResourceMemory: resource.MustParse(memory)}
	}
	pod.Spec.Containers[0].Resources = v1.ResourceRequirements{Requests: list("250m", "64Mi"), Limits: list("500m", "128Mi")}
	r := containerResources(pod, &pod.Spec.Containers[0], 1<<30)
	if r.CpuShares != 256 || r.CpuQuota != 50000 || r.CpuPeriod != 100000 || r.MemoryLimitInBytes != 128<<20 || r.OomScoreAdj != 938 {
		t.Errorf("burstable container: %v", r)
	}
	if r := containerResources(pod, &pod.Spec.Containers[1], 1<<30); r.CpuShares != 2 || r.CpuQuota != 0 || r.MemoryLimitInBytes != 0 || r.OomScoreAdj != 999 {
		t.Errorf("container without resources: %v", r)
	}
	if r := podResources(pod); r.CpuShares != 256 || r.CpuQuota != 0 || r.MemoryLimitInBytes != 0 {
		t.Errorf("pod with one unlimited container: %v", r)
	}
	pod.Spec.Containers[1].Resources = v1.ResourceRequirements{Limits: list("1m", "8Mi"), Requests: list("1m", "8Mi")}
	if r := podResources(pod); r.CpuQuota != 50100 || r.MemoryLimitInBytes != 136<<20 {
		t.Errorf("limited pod: %v", r)
	}
	if path := (&cgroups{root: "/skiff"}).parent(pod); path != "/skiff/burstable/podu" {
		t.Errorf("cgroup %s", path)
	}
}

// Only version 2 can end a container as a whole.
func TestGroupOOM(t *testing.T) {
	for _, v2 := range []bool{false, true} {
		c := &cgroups{}
		c.once.Do(func() { c.layout = cgroup.Layout{V2: v2} })
		if got := c.unified()["memory.oom.group"] == "1"; got != v2 {
			t.Errorf("with version 2 %t: %v", v2, c.unified())
		}
	}
}

func TestFits(t *testing.T) {
	node := &v1.Node{}
	node.Labels = map[string]string{"disk": "ssd"}
	node.Status.Allocatable = v1.ResourceList{v1.ResourceCPU: resource.MustParse("2"), v1.ResourceMemory: resource.MustParse("1Gi"), v1.ResourcePods: resource.MustParse("3")}
	with := func(change func(*v1.Pod)) *v1.Pod {
		p := podOfNames("Always", "a")
		change(p)
		return p
	}
	cpu := func(amount string) func(*v1.Pod) {
		return func(p *v1.Pod) {
			p.Spec.Containers[0].Resources.Requests = v1.ResourceList{v1.ResourceCPU: resource.MustParse(amount)}
		}
	}
	port := func(p *v1.Pod) {
		p.Spec.Containers[0].Ports = []v1.ContainerPort{{HostPort: 80, Protocol: v1.ProtocolTCP}}
	}
	sysctl := func(name string) func(*v1.Pod) {
		return func(p *v1.Pod) {
			p.Spec.SecurityContext = &v1.PodSecurityContext{Sysctls: []v1.Sysctl{{Name: name, Value: "1"}}}
		}
	}
	asks := func(resourceName string) func(*v1.Pod) {
		return func(p *v1.Pod) {
			p.Spec.Containers[0].Resources.Requests = v1.ResourceList{v1.ResourceName(resourceName): resource.MustParse("1")}
		}
	}
	node.Spec.Taints = []v1.Taint{{Key: "soft", Effect: v1.TaintEffectNoSchedule}}
	for name, c := range map[string]struct {
		pod    *v1.Pod
		others []*v1.Pod
		want   string
	}{
		"of the cluster": {pod: with(asks("example.com/licences"))},
		"of the node":    {pod: with(asks("hugepages-2Mi")), want: "OutOfhugepages-2Mi Node didn't have enough resource: hugepages-2Mi, requested: 1, used: 0, capacity: 0"},
		"another system": {pod: with(func(p *v1.Pod) { p.Labels = map[string]string{v1.LabelOSStable: "windows"}; cpu("9")(p) }), want: "PodOSSelectorNodeLabelDoesNotMatch Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"},
		"safe sysctl":    {pod: with(sysctl("net.ipv4.tcp_syncookies"))},
		"safe, slashes":  {pod: with(sysctl("net/ipv4/tcp_syncookies"))},
		"unsafe sysctl":  {pod: with(sysctl("kernel.msgmax")), want: `SysctlForbidden forbidden sysctl: "kernel.msgmax" not allowlisted`},
		"fits":           {pod: with(cpu("1500m"))},
		"too much cpu":   {pod: with(cpu("1500m")), others: []*v1.Pod{with(cpu("1"))}, want: "OutOfcpu Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000"},
		"too many":       {pod: with(cpu("1m")), others: []*v1.Pod{with(cpu("1m")), with(cpu("1m")), with(cpu("1m"))}, want: "OutOfpods Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3"},
		"selector":       {pod: with(func(p *v1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "tape"} }), want: "NodeAffinity Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"},
		"port taken":     {pod: with(port), others: []*v1.Pod{with(port)}, want: "NodePorts Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if r := fits(c.pod, node, c.others); r != nil {
				got = r.Reason + " " + r.Message
			}
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestResourceValue(t *testing.T) {
	list := func(cpu, memory string) v1.ResourceList {
		return v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu), v1.ResourceMemory: resource.MustParse(memory)}
	}
	node := list("4", "8Gi")
	node["hugepages-2Mi"] = resource.MustParse("64Mi")
	pod := podOfNames("Always", "a", "b")
	pod.Spec.Resources = &v1.ResourceRequirements{Limits: v1.ResourceList{v1.ResourceMemory: resource.MustParse("1Gi")}}
	pod.Spec.Containers[1].Resources = v1.ResourceRequirements{Limits: list("1500m", "100Mi"), Requests: list("250m", "64Mi")}
	for _, c := range []struct{ container, name, divisor, want string }{
		{"", "limits.cpu", "0", "4"},
		{"", "limits.memory", "1Mi", "1024"}, // of the pod as a whole
		{"", "limits.hugepages-2Mi", "0", "0"},
		{"", "requests.memory", "0", "0"},
		{"b", "limits.cpu", "0", "2"},
		{"b", "limits.cpu", "1m", "1500"},
		{"b", "requests.cpu", "1", "1"},
		{"b", "limits.memory", "1Ki", "102400"},
		{"none", "limits.cpu", "0", ""},
		{"", "limits", "0", ""},
		{"", "usage.cpu", "0", ""},
	} {
		got, err := resourceValue(pod, &pod.Spec.Containers[0], &v1.ResourceFieldSelector{ContainerName: c.container, Resource: c.name, Divisor: resource.MustParse(c.divisor)}, node)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s of %q by %s: %q %v, want %q", c.name, c.container, c.divisor, got, err, c.want)
		}
	}
}

func TestWantsAppArmor(t *testing.T) {
	profile := func(kind v1.AppArmorProfileType) *v1.AppArmorProfile { return &v1.AppArmorProfile{Type: kind} }
	for name, c := range map[string]struct {
		pods, own *v1.AppArmorProfile
		want      bool
	}{
		"nothing said":     {},
		"of the runtime":   {own: profile(v1.AppArmorProfileTypeRuntimeDefault), want: true},
		"unconfined":       {own: profile(v1.AppArmorProfileTypeUnconfined)},
		"of the pod":       {pods: profile(v1.AppArmorProfileTypeLocalhost), want: true},
		"its own is other": {pods: profile(v1.AppArmorProfileTypeRuntimeDefault), own: profile(v1.AppArmorProfileTypeUnconfined)},
	} {
		pod := podOfNames("Always", "a")
		pod.Spec.SecurityContext = &v1.PodSecurityContext{AppArmorProfile: c.pods}
		pod.Spec.Containers[0].SecurityContext = &v1.SecurityContext{AppArmorProfile: c.own}
		if got := wantsAppArmor(pod); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestFitsTaints(t *testing.T) {
	node := &v1.Node{}
	node.Spec.Taints = []v1.Taint{{Key: "gone", Value: "x", Effect: v1.TaintEffectNoExecute}}
	pod := podOfNames("Always", "a")
	if r := fits(pod, node, nil); r == nil || *r != (refusal{"TaintToleration", "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"}) {
		t.Errorf("untolerated: %+v", r)
	}
	pod.Spec.Tolerations = []v1.Toleration{{Key: "gone", Operator: v1.TolerationOpExists}}
	if r := fits(pod, node, nil); r != nil {
		t.Errorf("tolerated: %+v", r)
	}
}

func TestLogTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	var b strings.Builder
	for range 200 {
		b.WriteString("2026-11-20T18:30:00.000000000Z stdout F line\n")
	}
	b.WriteString("2026-11-20T18:30:00.000000000Z stderr P half \n2026-11-20T18:30:00.000000000Z stderr F whole\n")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := nodeapi.LogTail(path, 2048, 3); got != "line\nhalf whole\n" {
		t.Errorf("tail %q", got)
	}
	if got := nodeapi.LogTail(path, 6, 80); got != "whole\n" {
		t.Errorf("cut tail %q", got)
	}
}

func TestMatchesRegistry(t *testing.T) {
	for _, c := range []struct {
		entry, image string
		want         bool
	}{
		{"https://index.docker.io/v1/", "busybox", true},
		{"docker.io", "library/busybox:1", true},
		{"reg.example:5000", "reg.example:5000/a/b:1", true},
		{"reg.example/team", "reg.example/team/app", true},
		{"reg.example/team", "reg.example/teams/app", false},
		{"*.example.com", "a.example.com/x", true},
		{"*.example.com", "a.b.example.com/x", false},
		{"other.example", "reg.example/x", false},
	} {
		if got := matchesRegistry(c.entry, c.image); got != c.want {
			t.Errorf("%s for %s: %v", c.entry, c.image, got)
		}
	}
}

func TestHostsFile(t *testing.T) {
	got := hostsFile([]string{"10.42.0.9"}, "web-0", "web.ns.svc.cluster.local") + hostAliases([]v1.HostAlias{{IP: "1.2.3.4", Hostnames: []string{"a", "b"}}})
	for _, want := range []string{"127.0.0.1\tlocalhost\n", "10.42.0.9\tweb-0.web.ns.svc.cluster.local\tweb-0\n", "1.2.3.4\ta\tb\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q misses %q", got, want)
		}
	}
}

func TestHostname(t *testing.T) {
	k := &Kubelet{deps: Deps{ClusterDomain: "cluster.local"}}
	yes, long := true, strings.Repeat("n", 62)
	override := "a.example"
	for name, c := range map[string]struct {
		change            func(*v1.PodSpec)
		host, domain, all string
	}{
		"by the pod's name": {change: func(*v1.PodSpec) {}, host: "p", all: "p"},
		"with a subdomain":  {change: func(s *v1.PodSpec) { s.Hostname, s.Subdomain = "h", "sub" }, host: "h", domain: "sub.default.svc.cluster.local", all: "h"},
		"in full": {
			change: func(s *v1.PodSpec) { s.Subdomain, s.SetHostnameAsFQDN = "sub", &yes },
			host:   "p", domain: "sub.default.svc.cluster.local", all: "p.sub.default.svc.cluster.local",
		},
		"in full, without a domain": {change: func(s *v1.PodSpec) { s.SetHostnameAsFQDN = &yes }, host: "p", all: "p"},
		"overridden":                {change: func(s *v1.PodSpec) { s.HostnameOverride, s.Subdomain, s.SetHostnameAsFQDN = &override, "sub", &yes }, host: "a.example", all: "a.example"},
		"too long":                  {change: func(s *v1.PodSpec) { s.Hostname = long + "-nn" }, host: long, all: long},
		"too long in full": {
			change: func(s *v1.PodSpec) { s.Hostname, s.Subdomain, s.SetHostnameAsFQDN = long, "sub", &yes },
			host:   long, domain: "sub.default.svc.cluster.local",
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod := podOfNames("Always", "a")
			c.change(&pod.Spec)
			host, domain := k.hostname(pod)
			all, err := k.kernelName(pod)
			if host != c.host || domain != c.domain || all != c.all || (err == nil) != (c.all != "") {
				t.Errorf("%q in %q, %q, %v", host, domain, all, err)
			}
		})
	}
}

func TestNodeNews(t *testing.T) {
	status := func(boot string, conditions ...v1.NodeCondition) *v1.NodeStatus {
		return &v1.NodeStatus{NodeInfo: v1.NodeSystemInfo{BootID: boot}, Conditions: conditions}
	}
	is := func(kind v1.NodeConditionType, s v1.ConditionStatus) v1.NodeCondition {
		return v1.NodeCondition{Type: kind, Status: s}
	}
	foreign := is("example.com/Problem", v1.ConditionTrue)
	for name, c := range map[string]struct {
		have, want *v1.NodeStatus
		events     []nodeEvent
	}{
		"nothing new": {status("a", is(v1.NodeReady, v1.ConditionTrue)), status("a", is(v1.NodeReady, v1.ConditionTrue), foreign), nil},
		"it was lost": {status("a", is(v1.NodeReady, v1.ConditionUnknown)), status("a", is(v1.NodeReady, v1.ConditionTrue)), []nodeEvent{{"Normal", "NodeReady", "Node n status is now: NodeReady"}}},
		"no network":  {status("a", is(v1.NodeReady, v1.ConditionTrue)), status("a", is(v1.NodeReady, v1.ConditionFalse)), []nodeEvent{{"Normal", "NodeNotReady", "Node n status is now: NodeNotReady"}}},
		"pressure": {
			status("a", is(v1.NodeDiskPressure, v1.ConditionFalse), is(v1.NodeMemoryPressure, v1.ConditionTrue)),
			status("a", is(v1.NodeDiskPressure, v1.ConditionTrue), is(v1.NodeMemoryPressure, v1.ConditionFalse)),
			[]nodeEvent{{"Normal", "NodeHasDiskPressure", "Node n status is now: NodeHasDiskPressure"}, {"Normal", "NodeHasSufficientMemory", "Node n status is now: NodeHasSufficientMemory"}},
		},
		"it booted":      {status("a"), status("b"), []nodeEvent{{"Warning", "Rebooted", "Node n has been rebooted, boot id: b"}}},
		"it is new here": {status(""), status("b"), nil},
	} {
		if d := cmp.Diff(c.events, nodeNews("n", c.have, c.want), cmp.AllowUnexported(nodeEvent{})); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}
