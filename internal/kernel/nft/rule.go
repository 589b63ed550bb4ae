package nft

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Reg numbers the sixteen 32-bit registers of the rule machine, from 0. The
// kernel counts them from NFT_REG32_00 (linux/netfilter/nf_tables.h).
type Reg uint32

func (r Reg) kernel() uint32 { return unix.NFT_REG32_00 + uint32(r) }

// Build joins expressions and lists of them into a rule's expressions.
func Build(parts ...[]expr.Any) []expr.Any {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func one(e expr.Any) []expr.Any { return []expr.Any{e} }

// IPv4 and IPv6 let packets of that family pass.
func IPv4() []expr.Any { return nfproto(unix.NFPROTO_IPV4) }

// IPv6 lets packets of that family pass.
func IPv6() []expr.Any { return nfproto(unix.NFPROTO_IPV6) }

func nfproto(family byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: Reg(0).kernel()},
		&expr.Cmp{Op: expr.CmpOpEq, Register: Reg(0).kernel(), Data: []byte{family}},
	}
}

// L4Proto loads the transport protocol.
func L4Proto(r Reg) []expr.Any {
	return one(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: r.kernel()})
}

// Dport loads the destination port; TCP, UDP and SCTP have it at the same place.
func Dport(r Reg) []expr.Any {
	return one(&expr.Payload{DestRegister: r.kernel(), Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2})
}

// Saddr and Daddr load an address: 4 bytes, or 16 with v6.
func Saddr(r Reg, v6 bool) []expr.Any { return header(r, v6, 12, 8) }

// Daddr loads the destination address.
func Daddr(r Reg, v6 bool) []expr.Any { return header(r, v6, 16, 24) }

func header(r Reg, v6 bool, offset4, offset6 uint32) []expr.Any {
	p := &expr.Payload{DestRegister: r.kernel(), Base: expr.PayloadBaseNetworkHeader, Offset: offset4, Len: 4}
	if v6 {
		p.Offset, p.Len = offset6, 16
	}
	return one(p)
}

// SaddrIn and DaddrIn compare an address with a range, of the range's family;
// the rule must have checked the family before.
func SaddrIn(p netip.Prefix, in bool) []expr.Any {
	return Build(Saddr(0, p.Addr().Is6()), within(p, in))
}

// DaddrIn compares the destination address with a range.
func DaddrIn(p netip.Prefix, in bool) []expr.Any {
	return Build(Daddr(0, p.Addr().Is6()), within(p, in))
}

func within(p netip.Prefix, in bool) []expr.Any {
	value := p.Masked().Addr().AsSlice()
	size := len(value)
	mask := make([]byte, size)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	op := expr.CmpOpEq
	if !in {
		op = expr.CmpOpNeq
	}
	return []expr.Any{
		&expr.Bitwise{SourceRegister: Reg(0).kernel(), DestRegister: Reg(0).kernel(),
			Len: uint32(size), Mask: mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: op, Register: Reg(0).kernel(), Data: value},
	}
}

// Iif and Oif compare the interface by name.
func Iif(name string, is bool) []expr.Any { return ifname(expr.MetaKeyIIFNAME, name, is) }

// Oif compares the outgoing interface by name.
func Oif(name string, is bool) []expr.Any { return ifname(expr.MetaKeyOIFNAME, name, is) }

func ifname(key expr.MetaKey, name string, is bool) []expr.Any {
	op := expr.CmpOpEq
	if !is {
		op = expr.CmpOpNeq
	}
	data := make([]byte, unix.IFNAMSIZ)
	copy(data, name)
	return []expr.Any{
		&expr.Meta{Key: key, Register: Reg(0).kernel()},
		&expr.Cmp{Op: op, Register: Reg(0).kernel(), Data: data},
	}
}

// ProtoIs compares the transport protocol.
func ProtoIs(p uint8) []expr.Any {
	return Build(L4Proto(0), one(&expr.Cmp{Op: expr.CmpOpEq, Register: Reg(0).kernel(), Data: []byte{p}}))
}

// ICMPTypeIs compares the ICMP type; ProtoIs must come first.
func ICMPTypeIs(kind uint8) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: Reg(0).kernel(), Base: expr.PayloadBaseTransportHeader, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: Reg(0).kernel(), Data: []byte{kind}},
	}
}

// DaddrLocal lets packets to an address of this host pass.
func DaddrLocal() []expr.Any {
	local := binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)
	return []expr.Any{
		&expr.Fib{Register: Reg(0).kernel(), FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: Reg(0).kernel(), Data: local},
	}
}

// DestinationNATed lets packets pass whose connection had its destination changed.
func DestinationNATed() []expr.Any {
	const ipsDstNAT = 1 << 5 // IPS_DST_NAT, linux/netfilter/nf_conntrack_common.h
	bit := binary.NativeEndian.AppendUint32(nil, ipsDstNAT)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: Reg(0).kernel()},
		&expr.Bitwise{SourceRegister: Reg(0).kernel(), DestRegister: Reg(0).kernel(), Len: 4, Mask: bit, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: Reg(0).kernel(), Data: make([]byte, 4)},
	}
}

// Find looks the key that starts in register key up in a set or map; the rule
// ends here if it is not there. With a map the data go to register data.
func Find(m Map, key, data Reg) []expr.Any {
	l := &expr.Lookup{SourceRegister: key.kernel(), SetName: m.Name}
	if len(m.Data) > 0 {
		l.IsDestRegSet, l.DestRegister = true, data.kernel()
	}
	return one(l)
}

// GotoFound looks up a verdict map and goes where it says.
func GotoFound(m Map, key Reg) []expr.Any {
	return one(&expr.Lookup{SourceRegister: key.kernel(), SetName: m.Name, IsDestRegSet: true,
		DestRegister: unix.NFT_REG_VERDICT})
}

// RandomBelow loads a random number in [0, n).
func RandomBelow(n uint32, r Reg) []expr.Any {
	return one(&expr.Numgen{Register: r.kernel(), Modulus: n, Type: unix.NFT_NG_RANDOM})
}

// DNAT changes the destination to the address in register addr and the port in
// register port.
func DNAT(v6 bool, addr, port Reg) []expr.Any {
	family := uint32(unix.NFPROTO_IPV4)
	if v6 {
		family = unix.NFPROTO_IPV6
	}
	return one(&expr.NAT{Type: expr.NATTypeDestNAT, Family: family,
		RegAddrMin: addr.kernel(), RegProtoMin: port.kernel()})
}

// Masquerade changes the source to the outgoing interface's address.
func Masquerade() []expr.Any { return one(&expr.Masq{}) }

// Goto continues in another chain and does not come back.
func Goto(chain string) []expr.Any {
	return one(&expr.Verdict{Kind: expr.VerdictGoto, Chain: chain})
}

// Jump continues in another chain and comes back.
func Jump(chain string) []expr.Any {
	return one(&expr.Verdict{Kind: expr.VerdictJump, Chain: chain})
}

// Accept ends this hook's chain.
func Accept() []expr.Any { return one(&expr.Verdict{Kind: expr.VerdictAccept}) }

// Drop drops.
func Drop() []expr.Any { return one(&expr.Verdict{Kind: expr.VerdictDrop}) }

// RejectTCP answers with a reset.
func RejectTCP() []expr.Any {
	return one(&expr.Reject{Type: unix.NFT_REJECT_TCP_RST})
}

// RejectPort answers with ICMP port unreachable, of the packet's family.
func RejectPort() []expr.Any {
	return one(&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH})
}

// NewConnection lets only the first packet of a connection pass.
func NewConnection() []expr.Any {
	bit := binary.NativeEndian.AppendUint32(nil, expr.CtStateBitNEW)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: Reg(0).kernel()},
		&expr.Bitwise{SourceRegister: Reg(0).kernel(), DestRegister: Reg(0).kernel(), Len: 4, Mask: bit, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: Reg(0).kernel(), Data: make([]byte, 4)},
	}
}

// Priority loads the packet's queueing priority.
func Priority(r Reg) []expr.Any {
	return one(&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: r.kernel()})
}

// SetPriority sets the packet's queueing priority.
func SetPriority(r Reg) []expr.Any {
	return one(&expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: r.kernel()})
}

// Remember writes an element into a dynamic map, or renews the one with the
// same key; it is forgotten after ttl.
func Remember(m Map, key, data Reg, ttl time.Duration) []expr.Any {
	return one(&expr.Dynset{SrcRegKey: key.kernel(), SrcRegData: data.kernel(), SetName: m.Name,
		Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: ttl})
}
