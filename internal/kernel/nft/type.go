package nft

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Type is the type of one field of a map's key or data. Each field fills whole
// 32-bit registers, as the kernel wants it for concatenations.
type Type int

// The types. ID is an opaque number of 64 bits, kept in two marks.
const (
	Addr4 Type = iota
	Addr6
	Proto
	Port
	Mark
	ID
)

func (t Type) String() string {
	return [...]string{"ipv4_addr", "ipv6_addr", "inet_proto", "inet_service", "mark", "id"}[t]
}

// words is the type's size in 32-bit registers.
func (t Type) words() uint32 {
	switch t {
	case Addr6:
		return 4
	case ID:
		return 2
	default:
		return 1
	}
}

func (t Type) datatypes() []nftables.SetDatatype {
	switch t {
	case Addr4:
		return []nftables.SetDatatype{nftables.TypeIPAddr}
	case Addr6:
		return []nftables.SetDatatype{nftables.TypeIP6Addr}
	case Proto:
		return []nftables.SetDatatype{nftables.TypeInetProto}
	case Port:
		return []nftables.SetDatatype{nftables.TypeInetService}
	case ID:
		return []nftables.SetDatatype{nftables.TypeMark, nftables.TypeMark}
	default:
		return []nftables.SetDatatype{nftables.TypeMark}
	}
}

func datatype(types []Type) nftables.SetDatatype {
	var all []nftables.SetDatatype
	for _, t := range types {
		all = append(all, t.datatypes()...)
	}
	if len(all) == 1 {
		return all[0]
	}
	return nftables.MustConcatSetType(all...)
}

// Key builds the bytes of a key or of data, field by field:
//
//	string(nft.Key{}.Addr(a).Proto(unix.IPPROTO_TCP).Port(80))
type Key []byte

// Addr appends an address, of 4 or 16 bytes.
func (k Key) Addr(a netip.Addr) Key { return append(k, a.AsSlice()...) }

// Proto appends an IP protocol number.
func (k Key) Proto(p uint8) Key { return append(k, p, 0, 0, 0) }

// Port appends a port.
func (k Key) Port(p uint16) Key { return append(k, byte(p>>8), byte(p), 0, 0) }

// Mark appends a number of 32 bits.
func (k Key) Mark(m uint32) Key { return binary.NativeEndian.AppendUint32(k, m) }

// ID appends an opaque number of 64 bits.
func (k Key) ID(id uint64) Key { return binary.BigEndian.AppendUint64(k, id) }

// format prints fields as text; bytes that do not fit the types are printed in
// hexadecimal rather than hidden.
func format(types []Type, b string) string {
	text := ""
	for _, t := range types {
		size := int(t.words()) * 4
		if len(b) < size {
			return text + " . ?" + hex.EncodeToString([]byte(b))
		}
		if text != "" {
			text += " . "
		}
		text += t.format([]byte(b[:size]))
		b = b[size:]
	}
	if b != "" {
		text += " . ?" + hex.EncodeToString([]byte(b))
	}
	return text
}

func (t Type) format(b []byte) string {
	switch t {
	case Addr4, Addr6:
		a, _ := netip.AddrFromSlice(b)
		return a.String()
	case Proto:
		return protoName(b[0])
	case Port:
		return strconv.Itoa(int(b[0])<<8 | int(b[1]))
	case ID:
		return hex.EncodeToString(b)
	default:
		return fmt.Sprint(binary.NativeEndian.Uint32(b))
	}
}

func protoName(p byte) string {
	switch p {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_SCTP:
		return "sctp"
	case unix.IPPROTO_ICMP:
		return "icmp"
	default:
		return strconv.Itoa(int(p))
	}
}

// FormatKey prints an element's key.
func (m Map) FormatKey(key string) string { return format(m.Key, key) }

// FormatData prints an element's data: for a verdict map where it goes.
func (m Map) FormatData(data string) string {
	switch {
	case m.Verdict:
		return "goto " + data
	case len(m.Data) > 0:
		return format(m.Data, data)
	default:
		return ""
	}
}
