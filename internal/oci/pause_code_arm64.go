package oci

import "encoding/binary"

const pauseMachine = 183 // EM_AARCH64

// pauseCode assembles the program of pauseImage. Numbers of system calls: include/uapi/asm-generic/unistd.h.
func pauseCode() []byte {
	// Addresses of the data depend on the code's length, which does not depend on them.
	return assemblePause(len(assemblePause(0)))
}

func assemblePause(length int) []byte {
	var c []byte
	emit := func(v uint32) { c = binary.LittleEndian.AppendUint32(c, v) }
	mov := func(reg, v uint32) { emit(0xd2800000 | v<<5 | reg) } // movz xREG, #v
	adr := func(reg, at uint32) {                                // adr xREG, data+at
		off := uint32(length) + at - uint32(len(c))
		emit(0x10000000 | (off&3)<<29 | (off>>2)<<5 | reg)
	}
	call := func(nr uint32) {
		mov(8, nr)
		emit(0xd4000001) // svc #0
	}

	mov(0, 17)
	adr(1, pauseActionAt)
	mov(2, 0)
	mov(3, 8)
	call(134) // rt_sigaction
	mov(0, 0)
	adr(1, pauseSetAt)
	mov(2, 0)
	call(135) // rt_sigprocmask; x3 is still 8
	mov(0, 15)
	adr(1, pauseNameAt)
	call(167) // prctl
	loop := len(c)
	adr(0, pauseSetAt)
	mov(1, 0)
	mov(2, 0)
	call(137)                                            // rt_sigtimedwait
	emit(0xb7f80000 | uint32((loop-len(c))/4)&0x3fff<<5) // tbnz x0, #63, loop
	mov(0, 0)
	call(94) // exit_group
	return c
}
