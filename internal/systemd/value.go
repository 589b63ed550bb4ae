package systemd

import "math"

// Value is one value of a property, with its type in D-Bus' letters.
type Value struct {
	signature string
	put       func(*encoder)
}

// String is a string.
func String(v string) Value { return Value{"s", func(e *encoder) { e.text(v) }} }

// Bool is a boolean.
func Bool(v bool) Value { return Value{"b", func(e *encoder) { e.bool(v) }} }

// Uint32 is a number of 32 bits.
func Uint32(v uint32) Value { return Value{"u", func(e *encoder) { e.uint32(v) }} }

// Int32 is a number of 32 bits with a sign.
func Int32(v int32) Value { return Value{"i", func(e *encoder) { e.uint32(uint32(v)) }} }

// Uint64 is a number of 64 bits.
func Uint64(v uint64) Value { return Value{"t", func(e *encoder) { e.uint64(v) }} }

// Int64 is a number of 64 bits with a sign.
func Int64(v int64) Value { return Value{"x", func(e *encoder) { e.uint64(uint64(v)) }} }

// Bytes are bytes, such as a mask of CPUs.
func Bytes(v []byte) Value {
	return Value{"ay", func(e *encoder) { e.array(1, func() { e.b = append(e.b, v...) }) }}
}

// Strings is a list.
func Strings(v ...string) Value {
	return Value{"as", func(e *encoder) {
		e.array(4, func() {
			for _, s := range v {
				e.text(s)
			}
		})
	}}
}

// Uint32s is a list, such as of processes.
func Uint32s(v ...uint32) Value {
	return Value{"au", func(e *encoder) {
		e.array(4, func() {
			for _, n := range v {
				e.uint32(n)
			}
		})
	}}
}

// Pairs is a list of two strings each, such as devices and what may be done with them.
func Pairs(v ...[2]string) Value {
	return Value{"a(ss)", func(e *encoder) {
		e.array(8, func() {
			for _, p := range v {
				e.align(8)
				e.text(p[0])
				e.text(p[1])
			}
		})
	}}
}

// Int16 is a number of 16 bits with a sign.
func Int16(v int16) Value { return Value{"n", func(e *encoder) { e.uint16(uint16(v)) }} }

// Double is a floating-point number.
func Double(v float64) Value { return Value{"d", func(e *encoder) { e.uint64(math.Float64bits(v)) }} }

// unsigned is a number of so many bits.
func unsigned(bits int, v uint64) Value {
	switch bits {
	case 8:
		return Value{"y", func(e *encoder) { e.b = append(e.b, byte(v)) }}
	case 16:
		return Value{"q", func(e *encoder) { e.uint16(uint16(v)) }}
	case 32:
		return Uint32(uint32(v))
	}
	return Uint64(v)
}
