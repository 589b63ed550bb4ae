package oci

import "encoding/binary"

// assembler makes tiny static programs of nothing but system calls, for the two jobs that a Go program cannot do: to
// weigh nothing (pause) and to have a single thread (stage). The instructions of the two architectures are in
// asm_amd64.go and asm_arm64.go; both know the same few.
type assembler struct {
	code []byte
	data []byte
	base uint32 // address of data; right in the second pass
}

// operand is an argument of a system call: a number, or the address of something in the data.
type operand struct {
	value uint32
	data  bool
}

func num[T ~int | ~uint32 | ~uint64 | ~uintptr](v T) operand { return operand{value: uint32(v)} }

// ref puts b into the data, aligned to 8 bytes.
func (a *assembler) ref(b []byte) operand {
	at := uint32(len(a.data))
	a.data = append(a.data, b...)
	for len(a.data)%8 != 0 {
		a.data = append(a.data, 0)
	}
	return operand{value: at, data: true}
}

func (a *assembler) cstring(s string) operand { return a.ref(append([]byte(s), 0)) }

// pointers puts a list of addresses, ended by zero, into the data.
func (a *assembler) pointers(list ...operand) operand {
	var b []byte
	for _, o := range list {
		b = binary.LittleEndian.AppendUint64(b, uint64(a.base+o.value))
	}
	return a.ref(binary.LittleEndian.AppendUint64(b, 0))
}

const (
	imageBase   = 0x400000
	imageHeader = 64 + 2*56 // ELF header and two program headers
)

// image runs program twice, because addresses of data depend on the length of the code, and wraps the result into ELF:
// one segment, readable and executable, that holds headers, code and data, and the wish for a stack that is not
// executable.
func image(program func(*assembler)) []byte {
	var a assembler
	program(&a)
	for len(a.code)%8 != 0 {
		a.code = append(a.code, 0)
	}
	length := len(a.code)
	a = assembler{base: uint32(imageBase + imageHeader + length)}
	program(&a)
	for len(a.code) < length {
		a.code = append(a.code, 0)
	}
	size := uint64(imageHeader + length + len(a.data))
	return append(append(elfHeader(size), a.code...), a.data...)
}

// elfHeader is elf(5): 64 bit, little endian, version 1, executable.
func elfHeader(size uint64) []byte {
	le := binary.LittleEndian
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	b = le.AppendUint16(b, 2) // ET_EXEC
	b = le.AppendUint16(b, machine)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, imageBase+imageHeader) // entry
	b = le.AppendUint64(b, 64)                    // program headers follow
	b = le.AppendUint64(b, 0)
	b = le.AppendUint32(b, 0)
	for _, v := range []uint16{64, 56, 2, 64, 0, 0} { // sizes and counts of headers
		b = le.AppendUint16(b, v)
	}
	const load, stack, r, w, x = 1, 0x6474e551, 4, 2, 1
	for _, h := range [...]struct{ kind, flags, at, size, align uint64 }{
		{load, r | x, imageBase, size, 0x1000},
		{stack, r | w, 0, 0, 16},
	} {
		b = le.AppendUint32(b, uint32(h.kind))
		b = le.AppendUint32(b, uint32(h.flags))
		for _, v := range []uint64{0, h.at, h.at, h.size, h.size, h.align} { // offset, addresses, sizes
			b = le.AppendUint64(b, v)
		}
	}
	return b
}
