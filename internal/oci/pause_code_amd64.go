package oci

import "encoding/binary"

const pauseMachine = 62 // EM_X86_64

// pauseCode assembles the program of pauseImage. Numbers of system calls: arch/x86/entry/syscalls/syscall_64.tbl.
func pauseCode() []byte {
	// Addresses of the data depend on the code's length, which does not depend on them.
	return assemblePause(len(assemblePause(0)))
}

func assemblePause(length int) []byte {
	data := uint32(pauseBase + pauseHeader + length)
	var c []byte
	mov := func(op byte, v uint32) { c = binary.LittleEndian.AppendUint32(append(c, op), v) } // mov r32, imm32
	eax, edi, esi, edx := func(v uint32) { mov(0xb8, v) }, func(v uint32) { mov(0xbf, v) }, func(v uint32) { mov(0xbe, v) }, func(v uint32) { mov(0xba, v) }
	r10 := func(v uint32) { c = binary.LittleEndian.AppendUint32(append(c, 0x41, 0xba), v) }
	syscall := func() { c = append(c, 0x0f, 0x05) }

	eax(13) // rt_sigaction
	edi(17)
	esi(data + pauseActionAt)
	edx(0)
	r10(8)
	syscall()
	eax(14) // rt_sigprocmask
	edi(0)
	esi(data + pauseSetAt)
	edx(0)
	syscall() // r10 is still 8
	eax(157)  // prctl
	edi(15)
	esi(data + pauseNameAt)
	syscall()
	loop := len(c)
	eax(128) // rt_sigtimedwait
	edi(data + pauseSetAt)
	esi(0)
	edx(0)
	syscall()
	c = append(c, 0x85, 0xc0)                  // test eax, eax
	c = append(c, 0x78, byte(loop-(len(c)+2))) // js loop
	eax(231)                                   // exit_group
	c = append(c, 0x31, 0xff)                  // xor edi, edi
	syscall()
	return c
}
