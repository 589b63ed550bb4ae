package systemd

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Kinds of messages.
const (
	kindCall   = 1
	kindReply  = 2
	kindError  = 3
	kindSignal = 4
)

// Header fields, by their numbers.
const (
	fieldPath        = 1
	fieldInterface   = 2
	fieldMember      = 3
	fieldErrorName   = 4
	fieldReplySerial = 5
	fieldDestination = 6
	fieldSignature   = 8
)

// message is one message of D-Bus, of the fields that are used here.
type message struct {
	kind                     byte
	serial, replyTo          uint32
	destination, path        string
	iface, member, errorName string
	signature                string
	body                     []byte
}

// order is the byte order of all machines that this runs on, and of those they talk to, which is themselves.
var order = binary.LittleEndian

const (
	headerSize = 16
	maxMessage = 1 << 20 // answers here have some hundred bytes; D-Bus allows 128 MiB
)

// encode writes the message.
func (m *message) encode() []byte {
	e := encoder{b: []byte{'l', m.kind, 0, 1}}
	e.uint32(uint32(len(m.body)))
	e.uint32(m.serial)
	e.array(8, func() {
		for _, f := range [...]struct {
			code byte
			typ  string
			text string
		}{{fieldPath, "o", m.path}, {fieldDestination, "s", m.destination}, {fieldInterface, "s", m.iface}, {fieldMember, "s", m.member}} {
			if f.text == "" {
				continue
			}
			e.align(8)
			e.b = append(e.b, f.code)
			e.signature(f.typ)
			e.text(f.text)
		}
		if m.signature != "" {
			e.align(8)
			e.b = append(e.b, fieldSignature)
			e.signature("g")
			e.signature(m.signature)
		}
	})
	e.align(8)
	return append(e.b, m.body...)
}

// size tells how long the message is that begins with these headerSize bytes.
func size(b []byte) (int, error) {
	if b[0] != 'l' || b[3] != 1 {
		return 0, errors.New("not a message of D-Bus")
	}
	body, fields := order.Uint32(b[4:]), order.Uint32(b[12:])
	if body > maxMessage || fields > maxMessage {
		return 0, fmt.Errorf("a message of %d bytes is too long", uint64(body)+uint64(fields))
	}
	return headerSize + int(fields+7)&^7 + int(body), nil
}

// decode reads a whole message.
func decode(b []byte) (*message, error) {
	m := &message{kind: b[1], serial: order.Uint32(b[8:])}
	fields := headerSize + int(order.Uint32(b[12:]))
	d := decoder{b: b[:fields], at: headerSize}
	for d.at < fields && d.err == nil {
		d.align(8)
		code, typ := d.byte(), d.signature()
		switch typ {
		case "s", "o":
			m.setText(code, d.text())
		case "g":
			m.setText(code, d.signature())
		case "u":
			if v := d.uint32(); code == fieldReplySerial {
				m.replyTo = v
			}
		default:
			return nil, fmt.Errorf("a message's header has a field of type %q", typ)
		}
	}
	m.body = b[headerSize+int(order.Uint32(b[12:])+7)&^7:]
	return m, d.err
}

func (m *message) setText(code byte, v string) {
	switch code {
	case fieldPath:
		m.path = v
	case fieldInterface:
		m.iface = v
	case fieldMember:
		m.member = v
	case fieldErrorName:
		m.errorName = v
	case fieldSignature:
		m.signature = v
	}
}

// encoder writes values in D-Bus' form: each at a multiple of its own size.
type encoder struct{ b []byte }

func (e *encoder) align(n int) {
	for len(e.b)%n != 0 {
		e.b = append(e.b, 0)
	}
}

func (e *encoder) uint16(v uint16) {
	e.align(2)
	e.b = order.AppendUint16(e.b, v)
}

func (e *encoder) uint32(v uint32) {
	e.align(4)
	e.b = order.AppendUint32(e.b, v)
}

func (e *encoder) uint64(v uint64) {
	e.align(8)
	e.b = order.AppendUint64(e.b, v)
}

func (e *encoder) bool(v bool) {
	n := uint32(0)
	if v {
		n = 1
	}
	e.uint32(n)
}

func (e *encoder) text(s string) {
	e.uint32(uint32(len(s)))
	e.b = append(append(e.b, s...), 0)
}

func (e *encoder) signature(s string) {
	e.b = append(e.b, byte(len(s)))
	e.b = append(append(e.b, s...), 0)
}

// array writes what f writes as the elements of an array, whose type is aligned to n.
func (e *encoder) array(n int, f func()) {
	e.uint32(0)
	length := len(e.b) - 4
	e.align(n)
	begin := len(e.b)
	f()
	order.PutUint32(e.b[length:], uint32(len(e.b)-begin))
}

func (e *encoder) properties(list []Property) {
	e.array(8, func() {
		for _, p := range list {
			e.align(8)
			e.text(p.Name)
			e.signature(p.Value.signature)
			p.Value.put(e)
		}
	})
}

// decoder reads values; after the first error all are empty.
type decoder struct {
	b   []byte
	at  int
	err error
}

var errShort = errors.New("a message of D-Bus ends too early")

// take returns the next n bytes.
func (d *decoder) take(n int) []byte {
	if d.err != nil || n < 0 || n > len(d.b)-d.at {
		d.err = errShort
		return nil
	}
	d.at += n
	return d.b[d.at-n : d.at]
}

func (d *decoder) align(n int) { d.take((n - d.at%n) % n) }

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	d.align(4)
	if b := d.take(4); b != nil {
		return order.Uint32(b)
	}
	return 0
}

func (d *decoder) text() string { return d.zeroed(int(d.uint32())) }

func (d *decoder) signature() string { return d.zeroed(int(d.byte())) }

// zeroed is a text of n bytes with a zero behind it.
func (d *decoder) zeroed(n int) string {
	b := d.take(n)
	d.take(1)
	return string(b)
}
