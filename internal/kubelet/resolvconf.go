package kubelet

import (
	"net/netip"
	"os"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Files that hold the node's resolvers: the usual one, and the one that
// systemd-resolved keeps for those who cannot reach its stub on 127.0.0.53.
const (
	resolvConf         = "/etc/resolv.conf"
	resolvConfUpstream = "/run/systemd/resolve/resolv.conf"
)

// Limits of a resolv.conf, as upstream applies them.
const (
	maxServers  = 3
	maxSearches = 32
	maxSearch   = 2048 // bytes
)

// resolver makes the pods' resolv.conf.
type resolver struct {
	dns    netip.Addr
	domain string
	// host reads the node's own resolv.conf.
	host func() hostDNS
}

// hostDNS is a parsed resolv.conf.
type hostDNS struct{ Servers, Searches, Options []string }

// config is the resolv.conf of a pod by its dnsPolicy and dnsConfig. omitted says
// what of it is beyond the limits, in words for events.
func (r resolver) config(pod *v1.Pod) (c *runtimeapi.DNSConfig, omitted []string) {
	c = r.unlimited(pod)
	if len(c.Servers) > maxServers {
		c.Servers = c.Servers[:maxServers]
		omitted = append(omitted, "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "+strings.Join(c.Servers, " "))
	}
	if some := capSearches(c.Searches); len(some) < len(c.Searches) {
		c.Searches = some
		omitted = append(omitted, "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "+strings.Join(some, " "))
	}
	return c, omitted
}

func (r resolver) unlimited(pod *v1.Pod) *runtimeapi.DNSConfig {
	c := &runtimeapi.DNSConfig{}
	host := r.host()
	switch policy := effectivePolicy(pod); policy {
	case v1.DNSNone:
	case v1.DNSClusterFirst:
		if r.dns.IsValid() {
			c.Servers = []string{r.dns.String()}
			c.Searches = append(r.searches(pod.Namespace), host.Searches...)
			c.Options = []string{"ndots:5"}
			break
		}
		fallthrough
	default:
		c.Servers, c.Searches, c.Options = host.Servers, host.Searches, host.Options
	}
	if d := pod.Spec.DNSConfig; d != nil {
		c.Servers = appendNew(c.Servers, d.Nameservers)
		c.Searches = appendNew(c.Searches, d.Searches)
		c.Options = mergeOptions(c.Options, d.Options)
	}
	c.Searches = appendNew(nil, c.Searches)
	return c
}

func (r resolver) searches(namespace string) []string {
	if r.domain == "" {
		return nil
	}
	return []string{namespace + ".svc." + r.domain, "svc." + r.domain, r.domain}
}

// effectivePolicy resolves the policies that depend on the host's network.
func effectivePolicy(pod *v1.Pod) v1.DNSPolicy {
	switch pod.Spec.DNSPolicy {
	case v1.DNSClusterFirstWithHostNet:
		return v1.DNSClusterFirst
	case v1.DNSClusterFirst, "":
		if pod.Spec.HostNetwork {
			return v1.DNSDefault
		}
		return v1.DNSClusterFirst
	default:
		return pod.Spec.DNSPolicy
	}
}

func appendNew(to, more []string) []string {
	out := slices.Clone(to)
	for _, s := range more {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func mergeOptions(base []string, more []v1.PodDNSConfigOption) []string {
	out := slices.Clone(base)
	for _, o := range more {
		text := o.Name
		if o.Value != nil && *o.Value != "" {
			text += ":" + *o.Value
		}
		at := slices.IndexFunc(out, func(s string) bool { name, _, _ := strings.Cut(s, ":"); return name == o.Name })
		if at >= 0 {
			out[at] = text
		} else {
			out = append(out, text)
		}
	}
	return out
}

func capSearches(all []string) []string {
	all = all[:min(len(all), maxSearches)]
	for len(strings.Join(all, " ")) > maxSearch {
		all = all[:len(all)-1]
	}
	return all
}

// readHostDNS reads the node's resolvers. A stub on a loopback address cannot be
// reached from a pod: systemd-resolved's own upstreams are taken in its place,
// and other loopback servers are left out.
func readHostDNS() hostDNS {
	text, err := os.ReadFile(resolvConf)
	if err != nil {
		return hostDNS{}
	}
	d := parseResolvConf(string(text))
	if slices.ContainsFunc(d.Servers, isLoopback) {
		if real, err := os.ReadFile(resolvConfUpstream); err == nil {
			if up := parseResolvConf(string(real)); len(up.Servers) > 0 {
				up.Options = d.Options
				d = up
			}
		}
	}
	d.Servers = slices.DeleteFunc(d.Servers, isLoopback)
	return d
}

func isLoopback(server string) bool {
	addr, err := netip.ParseAddr(server)
	return err == nil && addr.IsLoopback()
}

// parseResolvConf reads resolv.conf(5). The last search or domain line counts.
func parseResolvConf(text string) hostDNS {
	var d hostDNS
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], ";") {
			continue
		}
		switch fields[0] {
		case "nameserver":
			d.Servers = append(d.Servers, fields[1])
		case "search", "domain":
			d.Searches = nil
			for _, s := range fields[1:] {
				if s = strings.TrimSuffix(s, "."); s != "" {
					d.Searches = append(d.Searches, s)
				}
			}
		case "options":
			d.Options = append(d.Options, fields[1:]...)
		}
	}
	return d
}
