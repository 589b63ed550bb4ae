package podnet

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
)

// addresses gives out the addresses of a range. It goes round the range, from
// a random start, so that an address that was given back rests as long as it
// can: clients that still talk to the old pod do not meet a new one.
type addresses struct {
	cidr  netip.Prefix
	size  uint32
	next  uint32
	inUse map[netip.Addr]bool
}

// reserved addresses: the network's own, the gateway's, and the broadcast.
const reservedLow, reservedHigh = 2, 1

func newAddresses(cidr netip.Prefix) (*addresses, error) {
	if !cidr.IsValid() || !cidr.Addr().Is4() || cidr.Bits() > 29 || cidr.Bits() < 8 {
		return nil, fmt.Errorf("pod range %s must be an IPv4 range between /8 and /29", cidr)
	}
	size := uint32(1)<<(32-cidr.Bits()) - reservedLow - reservedHigh
	return &addresses{cidr: cidr.Masked(), size: size, next: rand.Uint32N(size), inUse: map[netip.Addr]bool{}}, nil
}

// at is the address number i of the range, from 0.
func at(cidr netip.Prefix, i uint32) netip.Addr {
	b := cidr.Masked().Addr().As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	v += i
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

func gateway(cidr netip.Prefix) netip.Addr { return at(cidr, 1) }

// take returns a free address.
func (a *addresses) take() (netip.Addr, error) {
	for range a.size {
		addr := at(a.cidr, reservedLow+a.next)
		a.next = (a.next + 1) % a.size
		if !a.inUse[addr] {
			a.inUse[addr] = true
			return addr, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("taking an address: all %d addresses of the pod range %s are in use", a.size, a.cidr)
}

// claim marks an address as in use, for a pod known from before. One that is
// not of the range (which was changed since) can be given to nobody else.
func (a *addresses) claim(addr netip.Addr) {
	if a.cidr.Contains(addr) {
		a.inUse[addr] = true
	}
}

func (a *addresses) release(addr netip.Addr) { delete(a.inUse, addr) }

// macFor derives a locally administered MAC from an IPv4 address, so that the
// neighbour tables can be written before the link exists.
func macFor(addr netip.Addr) net.HardwareAddr {
	b := addr.As4()
	return net.HardwareAddr{0x0a, 0x58, b[0], b[1], b[2], b[3]}
}
