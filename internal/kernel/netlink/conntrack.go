package netlink

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Flow is one tracked connection.
type Flow struct {
	Proto uint8
	// From and To are the addresses of its first packet, Answerer is where
	// answers come from: To, or what To was translated to.
	From, To, Answerer netip.AddrPort

	family uint8
	tuple  []byte // CTA_TUPLE_ORIG as the kernel sent it
}

// Attributes of linux/netfilter/nfnetlink_conntrack.h.
const (
	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaIPv4Src    = 1
	ctaIPv4Dst    = 2
	ctaIPv6Src    = 3
	ctaIPv6Dst    = 4
	ctaProtoNum   = 1
	ctaProtoSport = 2
	ctaProtoDport = 3

	msgConntrackGet    = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1 // IPCTNL_MSG_CT_GET
	msgConntrackDelete = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2 // IPCTNL_MSG_CT_DELETE
)

// nfgenmsg: family, version, resource id.
func nfgen(family uint8) []byte { return []byte{family, 0, 0, 0} }

// Flows lists the tracked connections of one family (AF_INET or AF_INET6) and
// one protocol.
func (c *Conn) Flows(family, proto uint8) ([]Flow, error) {
	msgs, err := c.dump(message(msgConntrackGet, 0, nfgen(family), nil))
	if err != nil {
		return nil, fmt.Errorf("listing tracked connections: %w", cause(err))
	}
	var flows []Flow
	for _, m := range msgs {
		f, err := parseFlow(m.Data)
		if err != nil {
			return nil, fmt.Errorf("parsing tracked connection: %w", err)
		}
		if f.Proto == proto {
			f.family = family
			flows = append(flows, f)
		}
	}
	return flows, nil
}

func parseFlow(b []byte) (Flow, error) {
	var f Flow
	if len(b) < 4 {
		return f, fmt.Errorf("message has %d bytes", len(b))
	}
	ad, err := netlink.NewAttributeDecoder(b[4:])
	if err != nil {
		return f, err
	}
	for ad.Next() {
		switch ad.Type() {
		case ctaTupleOrig:
			f.tuple = append([]byte(nil), ad.Bytes()...)
			f.From, f.To, f.Proto, err = parseTuple(ad.Bytes())
		case ctaTupleReply:
			f.Answerer, _, _, err = parseTuple(ad.Bytes())
		}
		if err != nil {
			return f, err
		}
	}
	return f, ad.Err()
}

func parseTuple(b []byte) (src, dst netip.AddrPort, proto uint8, err error) {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return src, dst, 0, err
	}
	ad.ByteOrder = binary.BigEndian
	var from, to netip.Addr
	var sport, dport uint16
	for ad.Next() {
		switch ad.Type() {
		case ctaTupleIP:
			ad.Nested(func(nad *netlink.AttributeDecoder) error {
				for nad.Next() {
					switch nad.Type() {
					case ctaIPv4Src, ctaIPv6Src:
						from, _ = netip.AddrFromSlice(nad.Bytes())
					case ctaIPv4Dst, ctaIPv6Dst:
						to, _ = netip.AddrFromSlice(nad.Bytes())
					}
				}
				return nil
			})
		case ctaTupleProto:
			ad.Nested(func(nad *netlink.AttributeDecoder) error {
				for nad.Next() {
					switch nad.Type() {
					case ctaProtoNum:
						proto = nad.Uint8()
					case ctaProtoSport:
						sport = nad.Uint16()
					case ctaProtoDport:
						dport = nad.Uint16()
					}
				}
				return nil
			})
		}
	}
	return netip.AddrPortFrom(from, sport), netip.AddrPortFrom(to, dport), proto, ad.Err()
}

// ForgetFlow makes the kernel forget a tracked connection; its next packet
// begins a new one. A flow that is gone answers ENOENT, which is ignored.
func ForgetFlow(f Flow) Request {
	return Request{
		what:   fmt.Sprintf("forgetting tracked connection %s to %s", f.From, f.To),
		ignore: unix.ENOENT,
		msg: message(msgConntrackDelete, 0, nfgen(f.family), attributes(func(ae *netlink.AttributeEncoder) {
			ae.Bytes(unix.NLA_F_NESTED|ctaTupleOrig, f.tuple)
		})),
	}
}
