package service

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

// pool is a numbered set of values to allocate from.
type pool struct {
	size uint64
	// reserved is how many of the first values are given away by request only,
	// while others are free (KEP-3070, KEP-3668).
	reserved uint64
	value    func(uint64) string
	contains func(netip.Addr) bool
}

// maxAddresses bounds how much of a large IPv6 range is used.
const maxAddresses = 1 << 32

// addressPool is the addresses of a range, but for the first (the network) and
// the last of IPv4 (its broadcast).
func addressPool(cidr netip.Prefix) pool {
	cidr = cidr.Masked()
	bits := cidr.Addr().BitLen() - cidr.Bits()
	size := uint64(maxAddresses)
	if bits < 32 {
		size = 1 << bits
	}
	unusable := uint64(1)
	if cidr.Addr().Is4() && size > 1 {
		unusable = 2
	}
	size -= min(size, unusable)
	return pool{
		size:     size,
		reserved: min(size, band(size, 16, 256)),
		value:    func(i uint64) string { return offset(cidr.Addr(), i+1).String() },
		contains: func(a netip.Addr) bool {
			return cidr.Contains(a) && a != cidr.Addr() && (a.Is6() || a != offset(cidr.Addr(), size+1))
		},
	}
}

// portPool is the node ports.
func portPool(r PortRange) pool {
	size := uint64(0)
	if r.Last >= r.First {
		size = uint64(r.Last-r.First) + 1
	}
	return pool{
		size:     size,
		reserved: min(size, band(size, 32, 128)),
		value:    func(i uint64) string { return strconv.Itoa(int(r.First) + int(i)) },
	}
}

// band is a part of the size, at least 16 and at most so many; a small pool
// reserves nothing.
func band(size, part, most uint64) uint64 {
	if size < 16 {
		return 0
	}
	return min(max(16, size/part), most)
}

// offset adds to the low 64 bits of an address.
func offset(a netip.Addr, n uint64) netip.Addr {
	if a.Is4() {
		b := a.As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(n))
		return netip.AddrFrom4(b)
	}
	b := a.As16()
	binary.BigEndian.PutUint64(b[8:], binary.BigEndian.Uint64(b[8:])+n)
	return netip.AddrFrom16(b)
}
