package netlink

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Link is one network interface.
type Link struct {
	Index int
	Name  string
	MAC   net.HardwareAddr
	MTU   int
	Up    bool
	// Running means that the link carries packets: it is up, and so is what
	// it leads to. The kernel gets there some time after a link was set up.
	Running bool
	Master  int
	// Kind is the driver's name for virtual links ("veth", "bridge").
	Kind string
	// Peer is the index of the other end of a veth pair, in its own namespace.
	Peer int
}

// ifinfomsg, linux/rtnetlink.h.
func ifinfo(family uint8, index int, flags, change uint32) []byte {
	b := make([]byte, 16)
	b[0] = family
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], change)
	return b
}

// AddBridge makes a bridge that is up, without spanning tree or multicast
// snooping, whose ports forward at once.
func AddBridge(name string, mac net.HardwareAddr, mtu int) Request {
	attrs := attributes(func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, name)
		ae.Bytes(unix.IFLA_ADDRESS, mac)
		ae.Uint32(unix.IFLA_MTU, uint32(mtu))
		nested(ae, unix.IFLA_LINKINFO, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.IFLA_INFO_KIND, "bridge")
			nested(ae, unix.IFLA_INFO_DATA, func(ae *netlink.AttributeEncoder) {
				ae.Uint32(unix.IFLA_BR_FORWARD_DELAY, 0)
				ae.Uint32(unix.IFLA_BR_STP_STATE, 0)
				ae.Uint8(unix.IFLA_BR_MCAST_SNOOPING, 0)
			})
		})
	})
	return Request{
		what: fmt.Sprintf("creating bridge %q", name),
		msg: message(unix.RTM_NEWLINK, netlink.Create|netlink.Excl,
			ifinfo(unix.AF_UNSPEC, 0, unix.IFF_UP, unix.IFF_UP), attrs),
	}
}

// Veth describes a pair of links: Name here, a port of the bridge with index
// Master (zero for none); Peer in the namespace PeerNS.
type Veth struct {
	Name    string
	Master  int
	MTU     int
	Peer    string
	PeerMAC net.HardwareAddr
	PeerNS  *os.File
}

// AddVeth makes the pair, the peer directly in its namespace; both ends are down.
func AddVeth(v Veth) Request {
	attrs := attributes(func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, v.Name)
		ae.Uint32(unix.IFLA_MTU, uint32(v.MTU))
		if v.Master != 0 {
			ae.Uint32(unix.IFLA_MASTER, uint32(v.Master))
		}
		nested(ae, unix.IFLA_LINKINFO, func(ae *netlink.AttributeEncoder) {
			ae.String(unix.IFLA_INFO_KIND, "veth")
			nested(ae, unix.IFLA_INFO_DATA, func(ae *netlink.AttributeEncoder) {
				peer := attributes(func(ae *netlink.AttributeEncoder) {
					ae.String(unix.IFLA_IFNAME, v.Peer)
					ae.Bytes(unix.IFLA_ADDRESS, v.PeerMAC)
					ae.Uint32(unix.IFLA_MTU, uint32(v.MTU))
					ae.Uint32(unix.IFLA_NET_NS_FD, uint32(v.PeerNS.Fd()))
				})
				const vethInfoPeer = 1 // VETH_INFO_PEER, linux/veth.h
				ae.Bytes(unix.NLA_F_NESTED|vethInfoPeer, append(ifinfo(unix.AF_UNSPEC, 0, 0, 0), peer...))
			})
		})
	})
	return Request{
		what: fmt.Sprintf("creating veth %q", v.Name),
		msg:  message(unix.RTM_NEWLINK, netlink.Create|netlink.Excl, ifinfo(unix.AF_UNSPEC, 0, 0, 0), attrs),
	}
}

// SetUp switches a link on.
func SetUp(index int) Request {
	return Request{
		what: fmt.Sprintf("setting link %d up", index),
		msg:  message(unix.RTM_NEWLINK, 0, ifinfo(unix.AF_UNSPEC, index, unix.IFF_UP, unix.IFF_UP), nil),
	}
}

// QuietPort makes a bridge port one that neither learns nor gets floods, and
// that may get back what it sent (hairpin).
func QuietPort(index int) Request {
	attrs := attributes(func(ae *netlink.AttributeEncoder) {
		nested(ae, unix.IFLA_PROTINFO, func(ae *netlink.AttributeEncoder) {
			ae.Uint8(unix.IFLA_BRPORT_MODE, 1)
			ae.Uint8(unix.IFLA_BRPORT_LEARNING, 0)
			ae.Uint8(unix.IFLA_BRPORT_UNICAST_FLOOD, 0)
			ae.Uint8(unix.IFLA_BRPORT_MCAST_FLOOD, 0)
			ae.Uint8(unix.IFLA_BRPORT_BCAST_FLOOD, 0)
		})
	})
	return Request{
		what: fmt.Sprintf("setting bridge port options of link %d", index),
		msg:  message(unix.RTM_SETLINK, 0, ifinfo(unix.AF_BRIDGE, index, 0, 0), attrs),
	}
}

// DeleteLink removes a link by name; for a veth its peer goes too.
func DeleteLink(name string) Request {
	attrs := attributes(func(ae *netlink.AttributeEncoder) { ae.String(unix.IFLA_IFNAME, name) })
	return Request{
		what: fmt.Sprintf("deleting link %q", name),
		msg:  message(unix.RTM_DELLINK, 0, ifinfo(unix.AF_UNSPEC, 0, 0, 0), attrs),
	}
}

// Links lists the links of the namespace.
func (c *Conn) Links() ([]Link, error) {
	msgs, err := c.dump(message(unix.RTM_GETLINK, 0, ifinfo(unix.AF_UNSPEC, 0, 0, 0), nil))
	if err != nil {
		return nil, fmt.Errorf("listing links: %w", cause(err))
	}
	links := make([]Link, 0, len(msgs))
	for _, m := range msgs {
		link, err := parseLink(m.Data)
		if err != nil {
			return nil, err
		}
		links = append(links, link)
	}
	return links, nil
}

// Link returns the link with this name; the error wraps ENODEV if there is none.
func (c *Conn) Link(name string) (Link, error) {
	attrs := attributes(func(ae *netlink.AttributeEncoder) { ae.String(unix.IFLA_IFNAME, name) })
	msg := message(unix.RTM_GETLINK, netlink.Request, ifinfo(unix.AF_UNSPEC, 0, 0, 0), attrs)
	msgs, err := c.execute(msg)
	if err != nil {
		return Link{}, fmt.Errorf("looking up link %q: %w", name, cause(err))
	}
	return parseLink(msgs[0].Data)
}

// operUp is IF_OPER_UP, linux/if.h.
const operUp = 6

func parseLink(b []byte) (Link, error) {
	if len(b) < 16 {
		return Link{}, fmt.Errorf("parsing link: message has %d bytes", len(b))
	}
	link := Link{
		Index: int(binary.NativeEndian.Uint32(b[4:])),
		Up:    binary.NativeEndian.Uint32(b[8:])&unix.IFF_UP != 0,
	}
	ad, err := netlink.NewAttributeDecoder(b[16:])
	if err != nil {
		return Link{}, fmt.Errorf("parsing link: %w", err)
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_IFNAME:
			link.Name = ad.String()
		case unix.IFLA_ADDRESS:
			link.MAC = ad.Bytes()
		case unix.IFLA_MTU:
			link.MTU = int(ad.Uint32())
		case unix.IFLA_OPERSTATE:
			link.Running = ad.Uint8() == operUp
		case unix.IFLA_MASTER:
			link.Master = int(ad.Uint32())
		case unix.IFLA_LINK:
			link.Peer = int(ad.Uint32())
		case unix.IFLA_LINKINFO:
			ad.Nested(func(nad *netlink.AttributeDecoder) error {
				for nad.Next() {
					if nad.Type() == unix.IFLA_INFO_KIND {
						link.Kind = nad.String()
					}
				}
				return nil
			})
		}
	}
	if err := ad.Err(); err != nil {
		return Link{}, fmt.Errorf("parsing link: %w", err)
	}
	return link, nil
}

// SetGroup puts a link into a group, for DeleteGroup.
func SetGroup(name string, group uint32) Request {
	attrs := attributes(func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, name)
		ae.Uint32(unix.IFLA_GROUP, group)
	})
	return Request{
		what: fmt.Sprintf("grouping link %q", name),
		msg:  message(unix.RTM_NEWLINK, 0, ifinfo(unix.AF_UNSPEC, 0, 0, 0), attrs),
	}
}

// DeleteGroup removes all links of a group. The kernel waits for the end of
// all packets under way once, not once per link (rtnl_group_dellink).
func DeleteGroup(group uint32) Request {
	attrs := attributes(func(ae *netlink.AttributeEncoder) { ae.Uint32(unix.IFLA_GROUP, group) })
	return Request{
		what: fmt.Sprintf("deleting link group %#x", group),
		msg:  message(unix.RTM_DELLINK, 0, ifinfo(unix.AF_UNSPEC, 0, 0, 0), attrs),
	}
}
