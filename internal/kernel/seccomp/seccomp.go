// Package seccomp compiles runtime-spec's linux.seccomp into the kernel's classic BPF (Documentation/userspace-api/
// seccomp_filter.rst) and loads it. It is pure Go and needs no libseccomp.
//
// A program first looks at the architecture, then finds the system call's number by bisection over ranges of numbers
// that share an answer, and only then, for calls with conditions, looks at arguments. A number beyond all that the
// profile knows of gets ENOSYS, not the default: programs then fall back to an older call (as runc does since 1.0.0-rc93).
package seccomp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

type number struct {
	name string
	nr   uint32
}

func lookup(t []number, name string) (uint32, bool) {
	i := sort.Search(len(t), func(i int) bool { return t[i].name >= name })
	if i < len(t) && t[i].name == name {
		return t[i].nr, true
	}
	return 0, false
}

// Names lists the system calls of this machine's architecture.
func Names() []string {
	out := make([]string, len(numbers))
	for i, n := range numbers {
		out[i] = n.name
	}
	return out
}

// Known tells whether name is a system call of this architecture or its 32-bit companion.
func Known(name string) bool {
	_, a := lookup(numbers[:], name)
	_, b := lookup(numbers32[:], name)
	return a || b
}

// Program is a compiled profile.
type Program struct {
	Filter []byte // struct sock_filter, 8 bytes each
	Flags  uint32
	Notify bool // some call goes to a listener
}

// actions translate runtime-spec's words; the errno goes into the low 16 bits of some.
var actions = [...]struct {
	name  specs.LinuxSeccompAction
	ret   uint32
	errno bool
}{
	{specs.ActKill, unix.SECCOMP_RET_KILL_THREAD, false},
	{specs.ActKillThread, unix.SECCOMP_RET_KILL_THREAD, false},
	{specs.ActKillProcess, unix.SECCOMP_RET_KILL_PROCESS, false},
	{specs.ActTrap, unix.SECCOMP_RET_TRAP, false},
	{specs.ActErrno, unix.SECCOMP_RET_ERRNO, true},
	{specs.ActTrace, unix.SECCOMP_RET_TRACE, true},
	{specs.ActAllow, unix.SECCOMP_RET_ALLOW, false},
	{specs.ActLog, unix.SECCOMP_RET_LOG, false},
	{specs.ActNotify, unix.SECCOMP_RET_USER_NOTIF, false},
}

// Actions lists the words for `features`.
func Actions() []string {
	var out []string
	for _, a := range actions {
		out = append(out, string(a.name))
	}
	return out
}

func action(name specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	for _, a := range actions {
		if a.name != name {
			continue
		}
		if !a.errno {
			if errno != nil && *errno != 0 {
				return 0, fmt.Errorf("errnoRet is not allowed with %s", name)
			}
			return a.ret, nil
		}
		n := uint32(unix.EPERM)
		if errno != nil {
			n = uint32(*errno)
		}
		return a.ret | n&unix.SECCOMP_RET_DATA, nil
	}
	return 0, fmt.Errorf("action %q is not known", name)
}

// flags of seccomp(2); without any the speculative store bypass mitigation stays as the kernel has it, as runc's.
var flags = [...]struct {
	name specs.LinuxSeccompFlag
	bit  uint32
}{
	{"SECCOMP_FILTER_FLAG_TSYNC", 0}, // one thread is all there is at that moment
	{specs.LinuxSeccompFlagLog, unix.SECCOMP_FILTER_FLAG_LOG},
	{specs.LinuxSeccompFlagSpecAllow, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW},
	{specs.LinuxSeccompFlagWaitKillableRecv, unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV},
}

// Flags lists the words for `features`.
func Flags() []string {
	var out []string
	for _, f := range flags {
		out = append(out, string(f.name))
	}
	return out
}

// handOver are the calls that hand the listener over, and say that it is on its way: if they waited for the agent that
// is to get it, nothing would ever happen again.
var handOver = [...]string{"write", "sendmsg"}

func checkNotify(s *specs.LinuxSeccomp) error {
	if s.DefaultAction == specs.ActNotify {
		return errors.New("defaultAction: SCMP_ACT_NOTIFY cannot be used as default action")
	}
	for i, c := range s.Syscalls {
		for _, name := range handOver {
			if c.Action == specs.ActNotify && slices.Contains(c.Names, name) {
				return fmt.Errorf("syscalls[%d]: SCMP_ACT_NOTIFY cannot be used for the %s syscall", i, name)
			}
		}
	}
	return nil
}

// Compile translates a profile. Names that this machine has not are left out, as the specification allows.
func Compile(s *specs.LinuxSeccomp) (*Program, error) {
	def, err := action(s.DefaultAction, s.DefaultErrnoRet)
	if err != nil {
		return nil, fmt.Errorf("defaultAction: %w", err)
	}
	if err := checkNotify(s); err != nil {
		return nil, err
	}
	p := &Program{}
	if s.Flags == nil {
		p.Flags = unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	}
next:
	for i, f := range s.Flags {
		for _, k := range flags {
			if k.name == f {
				p.Flags |= k.bit
				continue next
			}
		}
		return nil, fmt.Errorf("flags[%d]: %q is not known", i, f)
	}
	archs, err := architectures(s.Architectures)
	if err != nil {
		return nil, err
	}
	var code []instr
	for _, a := range archs {
		block, notify, err := compileArch(s, a, def)
		if err != nil {
			return nil, err
		}
		p.Notify = p.Notify || notify
		code = append(code, archBlock(a, block)...)
	}
	// An architecture that the profile does not name could reach calls by other numbers.
	code = append(code, ret(unix.SECCOMP_RET_KILL_PROCESS))
	code = append([]instr{loadWord(4)}, code...)
	if len(code) > 4096 { // BPF_MAXINSNS
		return nil, fmt.Errorf("the profile needs %d instructions, the kernel takes 4096", len(code))
	}
	p.Filter = encode(code)
	return p, nil
}

type arch struct {
	audit  uint32
	table  []number
	hasX32 bool // the numbers of x32 come under the same audit value
}

const x32Bit = 0x40000000

// architectures: the native one always, others as named; foreign ones can never run here and are left out.
func architectures(list []specs.Arch) ([]arch, error) {
	native, compat := nativeArchs()
	out := []arch{native}
	for i, a := range list {
		if !strings.HasPrefix(string(a), "SCMP_ARCH_") {
			return nil, fmt.Errorf("architectures[%d]: %q is not known", i, a)
		}
		switch string(a) {
		case compatName:
			if !slices.ContainsFunc(out, func(o arch) bool { return o.audit == compat.audit }) {
				out = append(out, compat)
			}
		case "SCMP_ARCH_X32":
			out[0].hasX32 = nativeName == "SCMP_ARCH_X86_64"
		}
	}
	return out, nil
}

// Load puts the program on the calling thread, which needs no_new_privs or CAP_SYS_ADMIN. With listen the descriptor of
// the notification listener comes back, else -1.
func Load(filter []byte, flags uint32, listen bool) (int, error) {
	if listen {
		flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	prog := unix.SockFprog{Len: uint16(len(filter) / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(&filter[0]))}
	fd, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), uintptr(unsafe.Pointer(&prog)))
	if e != 0 {
		return -1, os.NewSyscallError("seccomp", e)
	}
	if listen {
		return int(fd), nil
	}
	return -1, nil
}

func encode(code []instr) []byte {
	out := make([]byte, 0, 8*len(code))
	for _, i := range code {
		out = binary.NativeEndian.AppendUint16(out, i.op)
		out = append(out, byte(i.jt), byte(i.jf))
		out = binary.NativeEndian.AppendUint32(out, i.k)
	}
	return out
}
