package oci

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const machine = 183 // EM_AARCH64

func (a *assembler) emit(v uint32) { a.code = binary.LittleEndian.AppendUint32(a.code, v) }

// mov puts a 32-bit number into a register: movz, movk with a shift of 16.
func (a *assembler) mov(reg, v uint32) {
	a.emit(0xd2800000 | v&0xffff<<5 | reg)
	a.emit(0xf2a00000 | v>>16<<5 | reg)
}

// call makes a system call; its result is in x0.
func (a *assembler) call(nr uint32, args ...operand) {
	for i, o := range args {
		v := o.value
		if o.data {
			v += a.base
		}
		a.mov(uint32(i), v)
	}
	a.mov(8, nr)
	a.emit(0xd4000001) // svc #0
}

// callWithResult makes a system call whose second argument is the address of the result of the one before, 8 bytes.
func (a *assembler) callWithResult(nr uint32, first operand, length uint32) {
	a.emit(0xf81f0fe0) // str x0, [sp, #-16]!
	a.emit(0x910003e1) // mov x1, sp
	a.mov(0, first.value)
	a.mov(2, length)
	a.mov(8, nr)
	a.emit(0xd4000001)
}

// callOnStack makes a system call whose first argument is the address of 8 bytes that it may change; rest follow.
func (a *assembler) callOnStack(nr uint32, first uint64, rest ...operand) {
	a.mov(0, uint32(first))
	a.mov(1, uint32(first>>32))
	a.emit(0xaa018000) // orr x0, x0, x1, lsl #32
	a.emit(0xf81f0fe0) // str x0, [sp, #-16]!
	a.emit(0x910003e0) // mov x0, sp
	for i, o := range rest {
		a.mov(uint32(i)+1, o.value)
	}
	a.mov(8, nr)
	a.emit(0xd4000001) // svc #0
	a.emit(0x910043ff) // add sp, sp, #16
}

// exitIfNegative ends the program with code when the last call failed.
func (a *assembler) exitIfNegative(code uint32) {
	a.emit(0xb6f80000 | 6<<5) // tbz x0, #63, behind the call
	a.call(unix.SYS_EXIT_GROUP, num(code))
}

// loopIfNegative goes back to a place when the last call failed.
func (a *assembler) loopIfNegative(to int) {
	a.emit(0xb7f80000 | uint32((to-len(a.code))/4)&0x3fff<<5) // tbnz x0, #63
}

// ifZero runs then when the last call returned zero, and goes on behind it otherwise.
func (a *assembler) ifZero(then func()) {
	at := len(a.code)
	a.emit(0) // cbnz x0, behind
	then()
	off := uint32(len(a.code)-at) / 4
	binary.LittleEndian.PutUint32(a.code[at:], 0xb5000000|off&0x7ffff<<5)
}
