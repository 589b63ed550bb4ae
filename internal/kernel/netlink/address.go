package netlink

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// AddAddress gives a link an address. IPv6 addresses skip duplicate detection:
// who calls this owns the range, and a tentative address cannot be used.
func AddAddress(index int, addr netip.Prefix) Request {
	header := make([]byte, 8) // ifaddrmsg
	header[0] = family(addr.Addr())
	header[1] = uint8(addr.Bits())
	if addr.Addr().Is6() {
		header[2] = unix.IFA_F_NODAD
	}
	binary.NativeEndian.PutUint32(header[4:], uint32(index))
	attrs := attributes(func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFA_LOCAL, addr.Addr().AsSlice())
		ae.Bytes(unix.IFA_ADDRESS, addr.Addr().AsSlice())
	})
	return Request{
		what: fmt.Sprintf("adding address %s to link %d", addr, index),
		msg:  message(unix.RTM_NEWADDR, netlink.Create|netlink.Excl, header, attrs),
	}
}

// Addresses lists the addresses of all links, by the link's index.
func (c *Conn) Addresses() (map[int][]netip.Prefix, error) {
	msgs, err := c.dump(message(unix.RTM_GETADDR, 0, make([]byte, 8), nil))
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", cause(err))
	}
	found := map[int][]netip.Prefix{}
	for _, m := range msgs {
		index := int(binary.NativeEndian.Uint32(m.Data[4:]))
		ad, err := netlink.NewAttributeDecoder(m.Data[8:])
		if err != nil {
			return nil, fmt.Errorf("parsing address: %w", err)
		}
		var local, address netip.Addr
		for ad.Next() {
			switch ad.Type() {
			case unix.IFA_LOCAL:
				local, _ = netip.AddrFromSlice(ad.Bytes())
			case unix.IFA_ADDRESS:
				address, _ = netip.AddrFromSlice(ad.Bytes())
			}
		}
		if !local.IsValid() { // IPv6 has IFA_ADDRESS only
			local = address
		}
		if local.IsValid() {
			found[index] = append(found[index], netip.PrefixFrom(local, int(m.Data[1])))
		}
	}
	return found, nil
}

// Route is a unicast route of the main table.
type Route struct {
	// To is the destination; a prefix of length zero is the default route.
	To netip.Prefix
	// Via is the gateway; without one the destination is on the link itself.
	Via netip.Addr
	// Source is the preferred source address, if valid.
	Source netip.Addr
	Link   int
}

// AddRoute adds the route, or replaces one to the same destination.
func AddRoute(r Route) Request {
	header := make([]byte, 12) // rtmsg
	header[0] = family(r.To.Addr())
	header[1] = uint8(r.To.Bits())
	header[4] = unix.RT_TABLE_MAIN
	header[5] = unix.RTPROT_STATIC
	header[6] = unix.RT_SCOPE_UNIVERSE
	header[7] = unix.RTN_UNICAST
	if !r.Via.IsValid() {
		header[6] = unix.RT_SCOPE_LINK
	}
	attrs := attributes(func(ae *netlink.AttributeEncoder) {
		if r.To.Bits() > 0 {
			ae.Bytes(unix.RTA_DST, r.To.Addr().AsSlice())
		}
		if r.Via.IsValid() {
			ae.Bytes(unix.RTA_GATEWAY, r.Via.AsSlice())
		}
		if r.Source.IsValid() {
			ae.Bytes(unix.RTA_PREFSRC, r.Source.AsSlice())
		}
		ae.Uint32(unix.RTA_OIF, uint32(r.Link))
	})
	return Request{
		what: fmt.Sprintf("adding route to %s", r.To),
		msg:  message(unix.RTM_NEWROUTE, netlink.Create|netlink.Replace, header, attrs),
	}
}

// Routes lists the unicast IPv4 routes of the main table.
func (c *Conn) Routes() ([]Route, error) {
	header := make([]byte, 12)
	header[0] = unix.AF_INET
	msgs, err := c.dump(message(unix.RTM_GETROUTE, 0, header, nil))
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", cause(err))
	}
	var routes []Route
	for _, m := range msgs {
		if m.Data[4] != unix.RT_TABLE_MAIN || m.Data[7] != unix.RTN_UNICAST {
			continue
		}
		route, err := parseRoute(m.Data)
		if err != nil {
			return nil, err
		}
		routes = append(routes, route)
	}
	return routes, nil
}

func parseRoute(b []byte) (Route, error) {
	ad, err := netlink.NewAttributeDecoder(b[12:])
	if err != nil {
		return Route{}, fmt.Errorf("parsing route: %w", err)
	}
	route := Route{To: netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
	for ad.Next() {
		switch ad.Type() {
		case unix.RTA_DST:
			to, _ := netip.AddrFromSlice(ad.Bytes())
			route.To = netip.PrefixFrom(to, int(b[1]))
		case unix.RTA_GATEWAY:
			route.Via, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.RTA_PREFSRC:
			route.Source, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.RTA_OIF:
			route.Link = int(ad.Uint32())
		}
	}
	return route, ad.Err()
}

// AddNeighbour writes a permanent entry into the neighbour table of a link.
func AddNeighbour(index int, addr netip.Addr, mac net.HardwareAddr) Request {
	return Request{
		what: fmt.Sprintf("adding neighbour %s", addr),
		msg: message(unix.RTM_NEWNEIGH, netlink.Create|netlink.Replace,
			ndmsg(family(addr), index, unix.NUD_PERMANENT, 0),
			attributes(func(ae *netlink.AttributeEncoder) {
				ae.Bytes(unix.NDA_DST, addr.AsSlice())
				ae.Bytes(unix.NDA_LLADDR, mac)
			})),
	}
}

// DeleteNeighbour removes an entry of the neighbour table.
func DeleteNeighbour(index int, addr netip.Addr) Request {
	return Request{
		what: fmt.Sprintf("deleting neighbour %s", addr),
		msg: message(unix.RTM_DELNEIGH, 0, ndmsg(family(addr), index, 0, 0),
			attributes(func(ae *netlink.AttributeEncoder) { ae.Bytes(unix.NDA_DST, addr.AsSlice()) })),
	}
}

// AddForwarding writes a static entry into the forwarding table of the bridge
// that the link is a port of. It vanishes with the port.
func AddForwarding(port int, mac net.HardwareAddr) Request {
	return Request{
		what: fmt.Sprintf("adding bridge forwarding entry for %s", mac),
		msg: message(unix.RTM_NEWNEIGH, netlink.Create|netlink.Replace,
			ndmsg(unix.AF_BRIDGE, port, unix.NUD_NOARP, unix.NTF_MASTER),
			attributes(func(ae *netlink.AttributeEncoder) { ae.Bytes(unix.NDA_LLADDR, mac) })),
	}
}

func ndmsg(family uint8, index int, state uint16, flags uint8) []byte {
	b := make([]byte, 12)
	b[0] = family
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint16(b[8:], state)
	b[10] = flags
	return b
}
