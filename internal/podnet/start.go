package podnet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/netlink"
	"go.skiff.dev/skiff/internal/kernel/nft"
)

// Start sets up bridge, forwarding and masquerading. It may be called again,
// also over the remains of a skiff that was killed: pods keep their traffic.
func (n *Network) Start(ctx context.Context) error {
	if err := n.checkRanges(); err != nil {
		return err
	}
	if err := n.ensureBridge(); err != nil {
		return err
	}
	if err := needSysctl(n.opts.Ledger, n.opts.Name, ipForward, "1"); err != nil {
		return fmt.Errorf("letting the node forward packets: %w", err)
	}
	if err := n.ensureRules(); err != nil {
		return err
	}
	for _, rec := range n.known() {
		n.openLoopback(rec)
	}
	n.findObstacles()
	return ctx.Err()
}

// checkRanges refuses a pod or service range that another link of the host
// already uses. A wider route of somebody else (a VPN) is no conflict: ours
// are narrower and win.
func (n *Network) checkRanges() error {
	routes, err := n.route.Routes()
	if err != nil {
		return err
	}
	links, err := n.route.Links()
	if err != nil {
		return err
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Index] = l.Name
	}
	for _, r := range routes {
		if names[r.Link] == n.opts.Bridge {
			continue
		}
		for flag, cidr := range map[string]netip.Prefix{"cluster-cidr": n.opts.PodCIDR, "service-cidr": n.opts.ServiceCIDR} {
			if cidr.IsValid() && cidr.Overlaps(r.To) && r.To.Bits() >= cidr.Bits() {
				return fmt.Errorf("range %s is in use on this host: link %q has a route to %s; choose another with --%s",
					cidr, names[r.Link], r.To, flag)
			}
		}
	}
	return nil
}

func (n *Network) ensureBridge() error {
	gw := gateway(n.opts.PodCIDR)
	mtu, err := n.linkMTU()
	if err != nil {
		return err
	}
	link, err := n.route.Link(n.opts.Bridge)
	switch {
	case errors.Is(err, unix.ENODEV):
		if err := n.route.Do(netlink.AddBridge(n.opts.Bridge, macFor(gw), mtu)); err != nil {
			return err
		}
		if link, err = n.route.Link(n.opts.Bridge); err != nil {
			return err
		}
	case err != nil:
		return err
	case link.Kind != "bridge":
		return fmt.Errorf("link %q exists and is no bridge; remove it or choose another --name", n.opts.Bridge)
	}
	requests := []netlink.Request{
		netlink.AddAddress(link.Index, netip.PrefixFrom(gw, n.opts.PodCIDR.Bits())).Ignoring(unix.EEXIST),
		netlink.SetUp(link.Index),
	}
	if n.opts.ServiceCIDR.IsValid() {
		// A host without a default route could not even begin to connect to a
		// service; the rules change the destination before a packet gets out.
		requests = append(requests, netlink.AddRoute(netlink.Route{To: n.opts.ServiceCIDR.Masked(), Source: gw, Link: link.Index}))
	}
	if err := n.route.Do(requests...); err != nil {
		return fmt.Errorf("setting up bridge %q: %w", n.opts.Bridge, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.bridge, n.mtu = link, mtu
	n.bridge.MAC = link.MAC
	return nil
}

// linkMTU is the wanted MTU, or that of the default route's link, or Ethernet's.
func (n *Network) linkMTU() (int, error) {
	if n.opts.MTU > 0 {
		return n.opts.MTU, nil
	}
	routes, err := n.route.Routes()
	if err != nil {
		return 0, err
	}
	links, err := n.route.Links()
	if err != nil {
		return 0, err
	}
	for _, r := range routes {
		for _, l := range links {
			if r.To.Bits() == 0 && l.Index == r.Link && l.MTU >= 1280 {
				return l.MTU, nil
			}
		}
	}
	return 1500, nil
}

// ensureRules writes the pods' chains, and the host ports of the pods that are
// known, in one transaction: there is no moment without them.
func (n *Network) ensureRules() error {
	b := n.table.Batch()
	for _, m := range maps() {
		b.AddMap(m)
		b.FlushMap(m)
	}
	n.mu.Lock()
	for _, rec := range n.pods {
		for name, elements := range hostPortElements(rec.IPs[0], rec.PortMappings) {
			b.AddElements(mapNamed(name), elements)
		}
	}
	n.mu.Unlock()
	for _, ch := range chains(n.opts) {
		b.SetChain(ch)
	}
	return b.Commit()
}

func mapNamed(name string) nft.Map {
	for _, m := range maps() {
		if m.Name == name {
			return m
		}
	}
	return nft.Map{Name: name}
}

// findObstacles looks for rules of others that stop the pods' packets, and
// says so. It changes nothing: they are not ours.
func (n *Network) findObstacles() {
	var warnings []string
	forward, err := n.table.DropPolicies(nft.Forward)
	if err == nil && len(forward) > 0 {
		warnings = append(warnings, fmt.Sprintf("another firewall drops forwarded packets by default (%s): allow packets from and to link %s there, or pods reach nothing beyond this node",
			strings.Join(forward, ", "), n.opts.Bridge))
	}
	input, err := n.table.DropPolicies(nft.Input)
	if err == nil && len(input) > 0 {
		warnings = append(warnings, fmt.Sprintf("another firewall drops packets to this host by default (%s): allow packets from link %s there, or pods have no DNS and no API server",
			strings.Join(input, ", "), n.opts.Bridge))
	}
	for _, w := range warnings {
		n.log.Warn("firewall in the way of pods", "problem", w)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.warnings = warnings
}
