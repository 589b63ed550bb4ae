package oci

import (
	"encoding/binary"
	"errors"
)

// coder carries the plan from parent to init: one walk over the fields both writes and reads, so the two can never
// disagree. Both ends are the same program; the bytes are never stored. (JSON would cost init a third of its time.)
type coder struct {
	b    []byte
	read bool
	err  error

	born  int   // how many descriptors init was born with: they have the same numbers at both ends
	files []int // those that came later
}

var (
	errShort = errors.New("message from the parent is cut short")
	errFile  = errors.New("a descriptor has not come")
)

func coded[T interface {
	~int | ~int32 | ~int64 | ~uint32 | ~uint64
}](c *coder, v *T) {
	if !c.read {
		c.b = binary.AppendVarint(c.b, int64(*v))
		return
	}
	n, l := binary.Varint(c.b)
	if l <= 0 {
		c.err, c.b = errShort, nil
		return
	}
	*v, c.b = T(n), c.b[l:]
}

// fd codes a descriptor, or -1 for none: to the writer it is its place in fileList, to the reader a number.
func (c *coder) fd(v *int) {
	coded(c, v)
	if i := *v - c.born; c.read && i >= 0 {
		if i >= len(c.files) {
			c.err, c.b = errFile, nil
			return
		}
		*v = c.files[i]
	}
}

func (c *coder) flag(v *bool) {
	n := 0
	if *v {
		n = 1
	}
	coded(c, &n)
	*v = n != 0
}

func (c *coder) bytes(v *[]byte) {
	n := len(*v)
	coded(c, &n)
	if !c.read {
		c.b = append(c.b, *v...)
		return
	}
	if n < 0 || n > len(c.b) {
		c.err, c.b = errShort, nil
		return
	}
	*v, c.b = c.b[:n:n], c.b[n:]
}

func (c *coder) str(v *string) {
	b := []byte(*v)
	c.bytes(&b)
	*v = string(b)
}

// list codes a slice. An element takes at least one byte, which bounds what a broken length can make us allocate.
func list[T any](c *coder, v *[]T, f func(*coder, *T)) {
	n := len(*v)
	coded(c, &n)
	if c.read {
		if n < 0 || n > len(c.b) {
			c.err, c.b = errShort, nil
			return
		}
		*v = make([]T, n)
	}
	for i := range *v {
		f(c, &(*v)[i])
	}
}

func (c *coder) strs(v *[]string) { list(c, v, (*coder).str) }
