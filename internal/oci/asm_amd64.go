package oci

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const machine = 62 // EM_X86_64

// movs are "mov r32, imm32" for the six argument registers.
var movs = [...][]byte{{0xbf}, {0xbe}, {0xba}, {0x41, 0xba}, {0x41, 0xb8}, {0x41, 0xb9}}

// call makes a system call; its result is in rax.
func (a *assembler) call(nr uint32, args ...operand) {
	for i, o := range args {
		v := o.value
		if o.data {
			v += a.base
		}
		a.code = binary.LittleEndian.AppendUint32(append(a.code, movs[i]...), v)
	}
	a.code = binary.LittleEndian.AppendUint32(append(a.code, 0xb8), nr) // mov eax, nr
	a.code = append(a.code, 0x0f, 0x05)                                 // syscall
}

// callWithResult makes a system call whose second argument is the address of the result of the one before, 8 bytes.
func (a *assembler) callWithResult(nr uint32, first operand, length uint32) {
	a.code = append(a.code, 0x50) // push rax
	a.code = binary.LittleEndian.AppendUint32(append(a.code, movs[0]...), first.value)
	a.code = append(a.code, 0x48, 0x89, 0xe6) // mov rsi, rsp
	a.code = binary.LittleEndian.AppendUint32(append(a.code, movs[2]...), length)
	a.code = binary.LittleEndian.AppendUint32(append(a.code, 0xb8), nr)
	a.code = append(a.code, 0x0f, 0x05)
}

// callOnStack makes a system call whose first argument is the address of 8 bytes that it may change; rest follow.
func (a *assembler) callOnStack(nr uint32, first uint64, rest ...operand) {
	a.code = binary.LittleEndian.AppendUint64(append(a.code, 0x48, 0xb8), first) // mov rax, first
	a.code = append(a.code, 0x50, 0x48, 0x89, 0xe7)                              // push rax; mov rdi, rsp
	for i, o := range rest {
		a.code = binary.LittleEndian.AppendUint32(append(a.code, movs[i+1]...), o.value)
	}
	a.code = binary.LittleEndian.AppendUint32(append(a.code, 0xb8), nr)
	a.code = append(a.code, 0x0f, 0x05, 0x48, 0x83, 0xc4, 8) // syscall; add rsp, 8
}

// exitIfNegative ends the program with code when the last call failed.
func (a *assembler) exitIfNegative(code uint32) {
	a.code = append(a.code, 0x85, 0xc0, 0x79, 12) // test eax, eax; jns behind the call
	a.call(unix.SYS_EXIT_GROUP, num(code))
}

// loopIfNegative goes back to a place when the last call failed.
func (a *assembler) loopIfNegative(to int) {
	a.code = append(a.code, 0x85, 0xc0)                     // test eax, eax
	a.code = append(a.code, 0x78, byte(to-(len(a.code)+2))) // js
}

// ifZero runs then when the last call returned zero, and goes on behind it otherwise.
func (a *assembler) ifZero(then func()) {
	a.code = append(a.code, 0x85, 0xc0, 0x0f, 0x85, 0, 0, 0, 0) // test eax, eax; jnz rel32
	at := len(a.code)
	then()
	binary.LittleEndian.PutUint32(a.code[at-4:], uint32(len(a.code)-at))
}
