package podnet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/netlink"
	"go.skiff.dev/skiff/internal/kernel/nft"
)

// Attach connects the network namespace netns and returns when the pod can be
// reached. On an error nothing is left behind. A pod that is already attached
// is detached first.
func (n *Network) Attach(ctx context.Context, id string, netns *os.File, opts AttachOptions) (Attachment, error) {
	leave, err := n.enter(ctx, id)
	if err != nil {
		return Attachment{}, err
	}
	defer leave()
	if err := n.detach(id); err != nil {
		return Attachment{}, err
	}
	rec, err := n.reserve(id, opts)
	if err != nil {
		return Attachment{}, err
	}
	if err := n.connect(ctx, rec, netns); err != nil {
		err = fmt.Errorf("attaching pod %q to the network: %w", id, err)
		return Attachment{}, errors.Join(err, n.detach(id))
	}
	return rec.Attachment, nil
}

// reserve takes an address and the host ports, and writes that down.
func (n *Network) reserve(id string, opts AttachOptions) (*record, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.bridge.Index == 0 {
		return nil, errors.New("attaching a pod: the pod network was not started")
	}
	if err := n.checkPorts(opts.PortMappings); err != nil {
		return nil, err
	}
	addr, err := n.addrs.take()
	if err != nil {
		return nil, err
	}
	rec := &record{ID: id, Hostname: opts.Hostname, PortMappings: opts.PortMappings, Attachment: Attachment{
		IPs: []netip.Addr{addr}, HostInterface: n.linkName(id), Interface: podInterface,
		MAC: macFor(addr).String(), Gateway: gateway(n.opts.PodCIDR), MTU: n.mtu,
	}}
	if err := n.records.save(rec); err != nil {
		n.addrs.release(addr)
		return nil, err
	}
	n.pods[id] = rec
	return rec, nil
}

// checkPorts refuses a host port that another pod has.
func (n *Network) checkPorts(wanted []PortMapping) error {
	for _, w := range wanted {
		for id, rec := range n.pods {
			for _, m := range rec.PortMappings {
				if m.HostPort == w.HostPort && protocol(m.Protocol) == protocol(w.Protocol) && overlap(m.HostIP, w.HostIP) {
					return fmt.Errorf("mapping host port %d/%s: it leads to pod %q already", w.HostPort, w.Protocol, id)
				}
			}
		}
	}
	return nil
}

func overlap(a, b netip.Addr) bool {
	all := func(x netip.Addr) bool { return !x.IsValid() || x.IsUnspecified() }
	return all(a) || all(b) || a == b
}

// connect makes the link and tells both sides about each other.
func (n *Network) connect(ctx context.Context, rec *record, netns *os.File) error {
	addr := rec.IPs[0]
	mac := macFor(addr)
	n.mu.Lock()
	bridge := n.bridge
	n.mu.Unlock()
	if err := n.route.Do(netlink.AddVeth(netlink.Veth{
		Name: rec.HostInterface, Master: bridge.Index, MTU: rec.MTU,
		Peer: podInterface, PeerMAC: mac, PeerNS: netns,
	})); err != nil {
		return err
	}
	host, err := n.route.Link(rec.HostInterface)
	if err != nil {
		return err
	}
	if err := n.route.Do(
		netlink.QuietPort(host.Index),
		netlink.AddForwarding(host.Index, mac),
		netlink.AddNeighbour(bridge.Index, addr, mac),
		netlink.SetUp(host.Index),
	); err != nil {
		return err
	}
	// The end that is set up last carries packets at once; for the other one
	// the kernel does its work in the background (linkwatch), and until then
	// drops what goes through it.
	if err := n.configurePod(rec, netns, bridge); err != nil {
		return err
	}
	if err := n.running.Wait(ctx, rec.HostInterface, host.Index); err != nil {
		return err
	}
	// A bridge carries nothing either until its first port does.
	if err := n.running.Wait(ctx, n.opts.Bridge, bridge.Index); err != nil {
		return err
	}
	return n.mapPorts(rec)
}

// loopbackIndex is the index of lo in every network namespace (LOOPBACK_IFINDEX).
const loopbackIndex = 1

// configurePod works inside the pod's namespace. Switching lo on gives it
// 127.0.0.1 and, where IPv6 is not disabled, ::1.
func (n *Network) configurePod(rec *record, netns *os.File, bridge netlink.Link) error {
	pod, err := netlink.DialRoute(netns)
	if err != nil {
		return err
	}
	defer func() { _ = pod.Close() }()
	eth, err := pod.Link(podInterface)
	if err != nil {
		return err
	}
	gw := rec.Gateway
	return pod.Do(
		netlink.SetUp(loopbackIndex),
		netlink.AddAddress(eth.Index, netip.PrefixFrom(rec.IPs[0], 32)),
		netlink.SetUp(eth.Index),
		netlink.AddNeighbour(eth.Index, gw, bridge.MAC),
		netlink.AddRoute(netlink.Route{To: netip.PrefixFrom(gw, 32), Link: eth.Index}),
		netlink.AddRoute(netlink.Route{To: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: gw, Link: eth.Index}),
	)
}

func (n *Network) mapPorts(rec *record) error {
	if len(rec.PortMappings) == 0 {
		return nil
	}
	b := n.table.Batch()
	for name, elements := range hostPortElements(rec.IPs[0], rec.PortMappings) {
		b.AddElements(mapNamed(name), elements)
	}
	if err := b.Commit(); err != nil {
		return err
	}
	n.openLoopback(rec)
	return nil
}

// Detach makes the pod unreachable and frees its host ports. Its link, and
// after that its address, are freed in the background: the kernel takes tens of
// milliseconds to let go of a link. A pod that is not attached is no error:
// Detach may be repeated.
func (n *Network) Detach(ctx context.Context, id string) error {
	leave, err := n.enter(ctx, id)
	if err != nil {
		return err
	}
	n.mu.Lock()
	rec, ok := n.pods[id]
	n.mu.Unlock()
	if !ok {
		leave()
		return nil
	}
	if err := n.cutOff(rec); err != nil {
		leave()
		return fmt.Errorf("detaching pod %q from the network: %w", id, err)
	}
	n.pending.Go(func() {
		defer leave()
		if err := n.free(rec); err != nil {
			// The record stays: Recover tries again.
			n.log.Error("freeing a pod's network", "pod", id, "error", err)
		}
	})
	return nil
}

// detach is Detach without the background, for a pod that the caller entered.
func (n *Network) detach(id string) error {
	n.mu.Lock()
	rec, ok := n.pods[id]
	n.mu.Unlock()
	if !ok {
		return nil
	}
	if err := errors.Join(n.cutOff(rec), n.free(rec)); err != nil {
		return fmt.Errorf("detaching pod %q from the network: %w", id, err)
	}
	return nil
}

// cutOff ends what leads to the pod.
func (n *Network) cutOff(rec *record) error {
	n.mu.Lock()
	bridge := n.bridge.Index
	n.mu.Unlock()
	if bridge != 0 {
		if err := n.route.Do(netlink.DeleteNeighbour(bridge, rec.IPs[0]).Ignoring(unix.ENOENT)); err != nil {
			return err
		}
	}
	if err := n.unmapPorts(rec); err != nil {
		return err
	}
	n.closeLoopback(rec.ID)
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.pods, rec.ID)
	return nil
}

// free gives link, record and address back, in this order: an address is only
// given out again when nothing of the old pod is left.
func (n *Network) free(rec *record) error {
	if err := n.deleter.remove(rec.HostInterface); err != nil {
		return err
	}
	if err := n.records.remove(rec.ID); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, ip := range rec.IPs {
		n.addrs.release(ip)
	}
	return nil
}

// unmapPorts deletes those of the pod's elements that are there: Attach may
// have failed before they were.
func (n *Network) unmapPorts(rec *record) error {
	if len(rec.PortMappings) == 0 {
		return nil
	}
	b := n.table.Batch()
	for name, elements := range hostPortElements(rec.IPs[0], rec.PortMappings) {
		m := mapNamed(name)
		present, err := n.table.Elements(m)
		if err != nil {
			return err
		}
		is := map[string]bool{}
		for _, e := range present {
			is[e.Key+e.Data] = true
		}
		for _, e := range elements {
			if is[e.Key+e.Data] {
				b.DeleteElements(m, []nft.Element{e})
			}
		}
	}
	if b.Empty() {
		return nil
	}
	return b.Commit()
}
