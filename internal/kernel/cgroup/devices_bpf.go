package cgroup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// setDevicesV2 replaces the device program of the cgroup (BPF_PROG_TYPE_CGROUP_DEVICE, Linux 4.15). The new program is
// attached before the old ones go: all attached ones must agree, so there is no moment without protection.
func setDevicesV2(_ *Manager, dir string, r *specs.LinuxResources) error {
	list, err := rules(r)
	if err != nil || list == nil {
		return err
	}
	prog, err := loadDeviceProgram(deviceProgram(list))
	if err != nil {
		return err
	}
	defer unix.Close(prog)
	d, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(d)
	old, err := attachedPrograms(d)
	if err != nil {
		return err
	}
	attach := bpfAttach{target: uint32(d), prog: uint32(prog), typ: unix.BPF_CGROUP_DEVICE, flags: unix.BPF_F_ALLOW_MULTI}
	if _, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attach), unsafe.Sizeof(attach)); err != nil {
		return fmt.Errorf("attaching the device program: bpf: %w", err)
	}
	for _, id := range old {
		if err := detach(d, id); err != nil {
			return err
		}
	}
	return nil
}

type bpfAttach struct{ target, prog, typ, flags, replace uint32 }

type bpfQuery struct {
	target, typ, flags, attachFlags uint32
	ids                             uint64
	count                           uint32
	_                               uint32
}

type bpfLoad struct {
	typ, insnCount   uint32
	insns, license   uint64
	logLevel, logLen uint32
	log              uint64
	kernVersion      uint32
	flags            uint32
}

type bpfID struct{ id, next, flags uint32 }

func bpf(cmd uintptr, attr unsafe.Pointer, size uintptr) (int, error) {
	r, _, e := unix.Syscall(unix.SYS_BPF, cmd, uintptr(attr), size)
	if e != 0 {
		return -1, e
	}
	return int(r), nil
}

func attachedPrograms(dir int) ([]uint32, error) {
	ids := make([]uint32, 64)
	q := bpfQuery{target: uint32(dir), typ: unix.BPF_CGROUP_DEVICE, count: uint32(len(ids)),
		ids: uint64(uintptr(unsafe.Pointer(&ids[0])))}
	_, err := bpf(unix.BPF_PROG_QUERY, unsafe.Pointer(&q), unsafe.Sizeof(q))
	runtime.KeepAlive(ids)
	if err != nil {
		return nil, fmt.Errorf("listing device programs: bpf: %w", err)
	}
	return ids[:q.count], nil
}

func detach(dir int, id uint32) error {
	get := bpfID{id: id}
	fd, err := bpf(unix.BPF_PROG_GET_FD_BY_ID, unsafe.Pointer(&get), unsafe.Sizeof(get))
	if err != nil {
		return fmt.Errorf("opening device program %d: bpf: %w", id, err)
	}
	defer unix.Close(fd)
	a := bpfAttach{target: uint32(dir), prog: uint32(fd), typ: unix.BPF_CGROUP_DEVICE}
	if _, err := bpf(unix.BPF_PROG_DETACH, unsafe.Pointer(&a), unsafe.Sizeof(a)); err != nil {
		return fmt.Errorf("detaching device program %d: bpf: %w", id, err)
	}
	return nil
}

// loadDeviceProgram keeps signals away meanwhile: the kernel's verifier gives up with EAGAIN when one is pending
// (bpf(2)), and Go's scheduler sends its own threads SIGURG whenever it likes.
func loadDeviceProgram(insns []byte) (int, error) {
	license := []byte("Apache-2.0\x00")
	l := bpfLoad{typ: unix.BPF_PROG_TYPE_CGROUP_DEVICE, insnCount: uint32(len(insns) / 8),
		insns: uint64(uintptr(unsafe.Pointer(&insns[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0])))}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return -1, fmt.Errorf("loading the device program: rt_sigprocmask: %w", err)
	}
	fd, err := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&l), unsafe.Sizeof(l))
	err = errors.Join(err, unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil))
	runtime.KeepAlive(insns)
	runtime.KeepAlive(license)
	if err != nil {
		return -1, fmt.Errorf("loading the device program: bpf: %w", err)
	}
	return fd, nil
}

// insn is one instruction of the kernel's BPF machine, Documentation/bpf/standardization/instruction-set.rst.
type insn struct {
	op       byte
	dst, src byte
	off      int16
	imm      int32
}

// Operations used below: class, source and mode in one byte.
const (
	opLoadW  = unix.BPF_LDX | unix.BPF_MEM | unix.BPF_W
	opAndK   = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	opShrK   = unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K
	opMovX   = unix.BPF_ALU | unix.BPF_MOV | unix.BPF_X
	opMovK   = unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_K
	opJneK   = unix.BPF_JMP | unix.BPF_JNE | unix.BPF_K
	opJneX   = unix.BPF_JMP | unix.BPF_JNE | unix.BPF_X
	opExit   = unix.BPF_JMP | unix.BPF_EXIT
	devBlock = 1 // BPF_DEVCG_DEV_BLOCK
	devChar  = 2
	accMknod = 1 // BPF_DEVCG_ACC_MKNOD
	accRead  = 2
	accWrite = 4
)

// deviceProgram checks the rules from the last to the first; the first that matches decides. Registers: r2 type,
// r3 access wanted, r4 major, r5 minor. A rule matches when it covers all of the access wanted.
func deviceProgram(list []rule) []byte {
	p := []insn{
		{op: opLoadW, dst: 2, src: 1, off: 0}, {op: opAndK, dst: 2, imm: 0xffff},
		{op: opLoadW, dst: 3, src: 1, off: 0}, {op: opShrK, dst: 3, imm: 16},
		{op: opLoadW, dst: 4, src: 1, off: 4}, {op: opLoadW, dst: 5, src: 1, off: 8},
	}
	decided := false
	for i := len(list) - 1; i >= 0 && !decided; i-- {
		block := ruleBlock(list[i])
		p = append(p, block...)
		decided = len(block) == 2 // matches everything
	}
	if !decided { // what no rule names stays allowed, as on v1
		p = append(p, insn{op: opMovK, imm: 1}, insn{op: opExit})
	}
	var out []byte
	for _, i := range p {
		out = append(out, i.op, i.dst|i.src<<4)
		out = binary.NativeEndian.AppendUint16(out, uint16(i.off))
		out = binary.NativeEndian.AppendUint32(out, uint32(i.imm))
	}
	return out
}

func ruleBlock(w rule) []insn {
	var b []insn
	switch w.typ {
	case 'b':
		b = append(b, insn{op: opJneK, dst: 2, imm: devBlock})
	case 'c':
		b = append(b, insn{op: opJneK, dst: 2, imm: devChar})
	}
	if acc := accessBits(w.access); acc != accMknod|accRead|accWrite {
		b = append(b, insn{op: opMovX, dst: 1, src: 3}, insn{op: opAndK, dst: 1, imm: acc}, insn{op: opJneX, dst: 1, src: 3})
	}
	if w.major >= 0 {
		b = append(b, insn{op: opJneK, dst: 4, imm: int32(w.major)})
	}
	if w.minor >= 0 {
		b = append(b, insn{op: opJneK, dst: 5, imm: int32(w.minor)})
	}
	verdict := int32(0)
	if w.allow {
		verdict = 1
	}
	b = append(b, insn{op: opMovK, imm: verdict}, insn{op: opExit})
	for i := range b { // every "not equal" leads behind the block
		if b[i].op == opJneK || b[i].op == opJneX {
			b[i].off = int16(len(b) - i - 1)
		}
	}
	return b
}

func accessBits(s string) (bits int32) {
	if strings.Contains(s, "m") {
		bits |= accMknod
	}
	if strings.Contains(s, "r") {
		bits |= accRead
	}
	if strings.Contains(s, "w") {
		bits |= accWrite
	}
	return bits
}
