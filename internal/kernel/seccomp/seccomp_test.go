package seccomp

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// run interprets a filter on one struct seccomp_data.
func run(t *testing.T, filter []byte, audit, nr uint32, args [6]uint64) uint32 {
	t.Helper()
	data := binary.NativeEndian.AppendUint32(nil, nr)
	data = binary.NativeEndian.AppendUint32(data, audit)
	data = append(data, make([]byte, 8)...)
	for _, a := range args {
		data = binary.NativeEndian.AppendUint64(data, a)
	}
	var acc uint32
	for pc := 0; pc < len(filter)/8; pc++ {
		i := filter[pc*8:]
		op, jt, jf, k := binary.NativeEndian.Uint16(i), int(i[2]), int(i[3]), binary.NativeEndian.Uint32(i[4:])
		jump := func(ok bool) {
			if ok {
				pc += jt
			} else {
				pc += jf
			}
		}
		switch op {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.NativeEndian.Uint32(data[k:])
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= k
		case unix.BPF_JMP | unix.BPF_JA | unix.BPF_K:
			pc += int(k)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump(acc == k)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			jump(acc > k)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			jump(acc >= k)
		case unix.BPF_RET | unix.BPF_K:
			return k
		default:
			t.Fatalf("instruction %#x at %d", op, pc)
		}
	}
	t.Fatal("the filter runs off its end")
	return 0
}

const errnoPerm = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
const errnoNosys = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)

func nr(t *testing.T, name string) uint32 {
	n, ok := lookup(numbers[:], name)
	if !ok {
		t.Fatalf("%s is not known", name)
	}
	return n
}

// TestOperators compares every operator with what it means, on numbers around each other's borders.
func TestOperators(t *testing.T) {
	native, _ := nativeArchs()
	values := []uint64{0, 1, 7, 1<<32 - 1, 1 << 32, 1<<32 + 1, 1<<33 + 7, 1<<64 - 1}
	for range 50 {
		values = append(values, rand.Uint64()>>(rand.Uint64()%64))
	}
	meaning := map[specs.LinuxSeccompOperator]func(a, v, w uint64) bool{
		specs.OpEqualTo: func(a, v, _ uint64) bool { return a == v }, specs.OpNotEqual: func(a, v, _ uint64) bool { return a != v },
		specs.OpLessThan: func(a, v, _ uint64) bool { return a < v }, specs.OpLessEqual: func(a, v, _ uint64) bool { return a <= v },
		specs.OpGreaterThan: func(a, v, _ uint64) bool { return a > v }, specs.OpGreaterEqual: func(a, v, _ uint64) bool { return a >= v },
		specs.OpMaskedEqual: func(a, v, w uint64) bool { return a&v == w },
	}
	for op, holds := range meaning {
		for _, v := range values {
			w := v & values[rand.IntN(len(values))]
			p, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{
				{Names: []string{"read"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 2, Value: v, ValueTwo: w, Op: op}}}}})
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range values {
				want := uint32(errnoPerm)
				if holds(a, v, w) {
					want = unix.SECCOMP_RET_ALLOW
				}
				if got := run(t, p.Filter, native.audit, nr(t, "read"), [6]uint64{2: a}); got != want {
					t.Fatalf("%d %s %d (%d): %#x, want %#x", a, op, v, w, got, want)
				}
			}
		}
	}
}

// TestNumbers makes profiles of random calls and asks for every number.
func TestNumbers(t *testing.T) {
	native, _ := nativeArchs()
	for range 30 {
		want := map[uint32]uint32{}
		s := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno}
		var top uint32
		for _, n := range numbers {
			if rand.IntN(2) == 0 {
				continue
			}
			act, ret := specs.ActAllow, uint32(unix.SECCOMP_RET_ALLOW)
			if rand.IntN(4) == 0 {
				act, ret = specs.ActKillProcess, unix.SECCOMP_RET_KILL_PROCESS
			}
			if _, twice := want[n.nr]; twice {
				continue
			}
			want[n.nr] = ret
			top = max(top, n.nr)
			s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{Names: []string{n.name}, Action: act})
		}
		p, err := Compile(s)
		if err != nil {
			t.Fatal(err)
		}
		for n := range uint32(700) {
			w, ok := want[n]
			if !ok {
				w = errnoPerm
			}
			if n > top {
				w = errnoNosys
			}
			if got := run(t, p.Filter, native.audit, n, [6]uint64{}); got != w {
				t.Fatalf("call %d: %#x, want %#x", n, got, w)
			}
		}
		if got := run(t, p.Filter, 1, 0, [6]uint64{}); got != unix.SECCOMP_RET_KILL_PROCESS {
			t.Errorf("foreign architecture: %#x", got)
		}
	}
}

func TestRules(t *testing.T) {
	native, _ := nativeArchs()
	errno := uint(7)
	p, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{
		{Names: []string{"write"}, Action: specs.ActErrno, ErrnoRet: &errno, Args: []specs.LinuxSeccompArg{
			{Index: 0, Value: 1, Op: specs.OpEqualTo}, {Index: 1, Value: 2, Op: specs.OpEqualTo}}},
		{Names: []string{"write", "unheard_of"}, Action: specs.ActAllow},
		{Names: []string{"read"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{
			{Index: 0, Value: 1, Op: specs.OpEqualTo}, {Index: 0, Value: 2, Op: specs.OpEqualTo}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		call string
		args [6]uint64
		want uint32
	}{
		{"write", [6]uint64{1, 2}, unix.SECCOMP_RET_ERRNO | 7}, {"write", [6]uint64{1, 3}, unix.SECCOMP_RET_ALLOW},
		{"read", [6]uint64{1}, unix.SECCOMP_RET_ALLOW}, {"read", [6]uint64{2}, unix.SECCOMP_RET_ALLOW}, {"read", [6]uint64{3}, errnoPerm},
	} {
		if got := run(t, p.Filter, native.audit, nr(t, tc.call), tc.args); got != tc.want {
			t.Errorf("%s%v: %#x, want %#x", tc.call, tc.args, got, tc.want)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	sys := func(s specs.LinuxSyscall) *specs.LinuxSeccomp {
		return &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{s}}
	}
	for want, s := range map[string]*specs.LinuxSeccomp{
		"defaultAction": {DefaultAction: "x"}, "flags[0]": {DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"x"}},
		"architectures[0]": {DefaultAction: specs.ActAllow, Architectures: []specs.Arch{"x"}},
		"syscalls[0]":      sys(specs.LinuxSyscall{Names: []string{"read"}, Action: "x"}),
		"args[0].index":    sys(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActLog, Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}}),
		"args[0]":          sys(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActLog, Args: []specs.LinuxSeccompArg{{Op: "x"}}}),
	} {
		if _, err := Compile(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestTablesAreSorted(t *testing.T) {
	for _, table := range [][]number{numbers[:], numbers32[:]} {
		for i := 1; i < len(table); i++ {
			if table[i-1].name >= table[i].name {
				t.Errorf("%s stands before %s", table[i-1].name, table[i].name)
			}
		}
	}
}

func TestCache(t *testing.T) {
	var c Cache
	one := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActAllow}}}
	same := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActAllow}}}
	other := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Flags: []specs.LinuxSeccompFlag{}, Syscalls: one.Syscalls}
	a, err := c.Compile(one)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := c.Compile(same); a != b {
		t.Error("the same profile was compiled twice")
	}
	if b, _ := c.Compile(other); a == b || a.Flags == b.Flags {
		t.Error("two profiles were taken for one")
	}
}
