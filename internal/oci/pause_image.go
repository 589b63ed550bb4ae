package oci

import "encoding/binary"

// The data behind the code, and where each piece starts in it.
const (
	pauseSetAt    = 0  // sigset: TERM, INT
	pauseActionAt = 8  // struct sigaction: SIG_IGN, no flags, no restorer, empty mask
	pauseNameAt   = 40 // for prctl PR_SET_NAME
)

func pauseData() []byte {
	b := binary.LittleEndian.AppendUint64(nil, pauseSignals)
	b = binary.LittleEndian.AppendUint64(b, 1) // SIG_IGN
	b = append(b, make([]byte, 24)...)
	return append(b, "pause\x00"...)
}

const (
	pauseBase   = 0x400000
	pauseHeader = 64 + 2*56 // ELF header and two program headers
)

// pauseImage is a whole static program: one segment, readable and executable, that holds headers, code and data, and
// the wish for a stack that is not executable.
//
//	rt_sigaction(SIGCHLD, {SIG_IGN}, NULL, 8)
//	rt_sigprocmask(SIG_BLOCK, {TERM, INT}, NULL, 8)
//	prctl(PR_SET_NAME, "pause")
//	while (rt_sigtimedwait({TERM, INT}, NULL, NULL, 8) < 0) ;
//	exit_group(0)
func pauseImage() []byte {
	code, data := pauseCode(), pauseData()
	size := uint64(pauseHeader + len(code) + len(data))
	le := binary.LittleEndian
	// ELF header (elf(5)): 64 bit, little endian, version 1, executable.
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	b = le.AppendUint16(b, 2) // ET_EXEC
	b = le.AppendUint16(b, pauseMachine)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, pauseBase+pauseHeader) // entry
	b = le.AppendUint64(b, 64)                    // program headers follow
	b = le.AppendUint64(b, 0)
	b = le.AppendUint32(b, 0)
	for _, v := range []uint16{64, 56, 2, 64, 0, 0} { // sizes and counts of headers
		b = le.AppendUint16(b, v)
	}
	const load, stack, r, w, x = 1, 0x6474e551, 4, 2, 1
	for _, h := range [...]struct{ kind, flags, at, size, align uint64 }{
		{load, r | x, pauseBase, size, 0x1000},
		{stack, r | w, 0, 0, 16},
	} {
		b = le.AppendUint32(b, uint32(h.kind))
		b = le.AppendUint32(b, uint32(h.flags))
		for _, v := range []uint64{0, h.at, h.at, h.size, h.size, h.align} { // offset, addresses, sizes
			b = le.AppendUint64(b, v)
		}
	}
	return append(append(b, code...), data...)
}
