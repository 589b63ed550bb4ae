package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
)

// label is a DNS label (RFC 1123), the form of a skiff's name.
var label = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$`)

func checkName(name string) error {
	if !label.MatchString(name) {
		return fmt.Errorf("flag --name: %q is no name: use up to 40 of a-z, 0-9 and '-', with a letter or digit at both ends", name)
	}
	return nil
}

// Validate checks what no single option can know. Errors name the options.
func (c *Config) Validate() error {
	if c.ClusterCIDR.Overlaps(c.ServiceCIDR) {
		return fmt.Errorf("cluster-cidr %s and service-cidr %s overlap; give one of them another range", c.ClusterCIDR, c.ServiceCIDR)
	}
	if err := sized("cluster-cidr", c.ClusterCIDR, 8, 24); err != nil {
		return err
	}
	if err := sized("service-cidr", c.ServiceCIDR, 12, 27); err != nil {
		return err
	}
	if !c.ServiceCIDR.Contains(c.ClusterDNS) {
		return fmt.Errorf("cluster-dns %s is outside of service-cidr %s", c.ClusterDNS, c.ServiceCIDR)
	}
	if c.APIPort == c.KubeletPort {
		return fmt.Errorf("api-port and kubelet-port are both %d; give one of them another port", c.APIPort)
	}
	for name, p := range map[string]int{"api-port": c.APIPort, "kubelet-port": c.KubeletPort} {
		if p >= c.NodePorts.First && p <= c.NodePorts.Last {
			return fmt.Errorf("%s %d lies in service-node-port-range %d-%d", name, p, c.NodePorts.First, c.NodePorts.Last)
		}
	}
	if c.ImageGCLow >= c.ImageGCHigh {
		return fmt.Errorf("image-gc-low-threshold %d must be below image-gc-high-threshold %d", c.ImageGCLow, c.ImageGCHigh)
	}
	if msg := strings.Trim(c.ClusterDomain, "."); msg != c.ClusterDomain || msg == "" {
		return fmt.Errorf("cluster-domain %q must be a domain without leading or trailing dots", c.ClusterDomain)
	}
	for _, socket := range []string{c.SupervisorSocket(), c.CRISocket(), c.ControlSocket(), c.EtcdSocket()} {
		if over := len(socket) - maxSocket; over > 0 {
			return fmt.Errorf("run-dir %q is %d bytes too long: the socket %s in it has an address of at most %d", c.RunDir, over, filepath.Base(socket), maxSocket)
		}
	}
	return nil
}

// maxSocket is how long the path of a unix socket may be (unix(7)).
const maxSocket = 107

// sized checks that a range is IPv4 and its mask lies within bounds.
func sized(name string, p netip.Prefix, low, high int) error {
	if !p.Addr().Is4() {
		return fmt.Errorf("%s %s: only IPv4 ranges can be used today", name, p)
	}
	if p.Bits() < low || p.Bits() > high {
		return fmt.Errorf("%s %s: the mask must be from /%d to /%d", name, p, low, high)
	}
	return nil
}
