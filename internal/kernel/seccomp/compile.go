package seccomp

import (
	"fmt"
	"sort"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// instr is one classic BPF instruction. Before a rule is resolved, jt and jf may be toMatch or toFail.
type instr struct {
	op     uint16
	jt, jf int
	k      uint32
}

const (
	toMatch = -1 // behind this condition
	toFail  = -2 // behind this rule
)

func loadWord(off uint32) instr { return instr{op: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, k: off} }
func ret(v uint32) instr        { return instr{op: unix.BPF_RET | unix.BPF_K, k: v} }
func jump(n int) instr          { return instr{op: unix.BPF_JMP | unix.BPF_JA, k: uint32(n)} }

func cond(op uint16, k uint32, jt, jf int) instr {
	return instr{op: unix.BPF_JMP | op | unix.BPF_K, k: k, jt: jt, jf: jf}
}

// call is everything a profile says about one system call.
type call struct {
	nr    uint32
	rules []specs.LinuxSyscall // with conditions, in the profile's order
	rets  []uint32
	plain bool
	ret   uint32 // without conditions, when plain
}

// archBlock enters block only on its architecture.
func archBlock(a arch, block []instr) []instr {
	head := []instr{cond(unix.BPF_JEQ, a.audit, 1, 0), jump(len(block) + 1), loadWord(0)}
	return append(head, block...)
}

func compileArch(s *specs.LinuxSeccomp, a arch, def uint32) (code []instr, notify bool, err error) {
	calls, notify, err := collect(s, a, def)
	if err != nil {
		return nil, false, err
	}
	var max uint32
	for _, c := range calls {
		if c.nr > max {
			max = c.nr
		}
	}
	code = bisect(ranges(calls, def))
	// What is newer than the profile does not exist, as far as this container is concerned.
	if def != unix.SECCOMP_RET_ALLOW && def != unix.SECCOMP_RET_LOG && len(calls) > 0 {
		code = append([]instr{cond(unix.BPF_JGT, max, 0, 1), ret(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))}, code...)
	}
	if a.audit == unix.AUDIT_ARCH_X86_64 {
		// x32 calls come under x86-64's value, with one bit more in the number (CVE-prone: same calls, other numbers).
		pre := []instr{cond(unix.BPF_JGE, x32Bit, 0, 1), ret(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))}
		if a.hasX32 {
			pre = []instr{{op: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, k: x32Bit - 1}}
		}
		code = append(pre, code...)
	}
	return code, notify, nil
}

// collect gathers the profile by call, sorted by number.
func collect(s *specs.LinuxSeccomp, a arch, def uint32) ([]call, bool, error) {
	byNr := map[uint32]*call{}
	notify := s.DefaultAction == specs.ActNotify
	for i, sc := range s.Syscalls {
		r, err := action(sc.Action, sc.ErrnoRet)
		if err != nil {
			return nil, false, fmt.Errorf("syscalls[%d]: %w", i, err)
		}
		for j, arg := range sc.Args {
			if arg.Index > 5 {
				return nil, false, fmt.Errorf("syscalls[%d].args[%d].index: %d is not one of 0 to 5", i, j, arg.Index)
			}
			if _, err := condition(arg); err != nil {
				return nil, false, fmt.Errorf("syscalls[%d].args[%d]: %w", i, j, err)
			}
		}
		notify = notify || sc.Action == specs.ActNotify
		for _, name := range sc.Names {
			nr, ok := lookup(a.table, name)
			if !ok {
				continue
			}
			c := byNr[nr]
			if c == nil {
				c = &call{nr: nr}
				byNr[nr] = c
			}
			c.add(sc, r)
		}
	}
	out := make([]call, 0, len(byNr))
	for _, c := range byNr {
		if !c.plain {
			c.ret = def
		}
		out = append(out, *c)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].nr < out[j].nr })
	return out, notify, nil
}

// add takes one entry. Conditions on the same argument are alternatives (libseccomp has them as separate rules), those
// on different arguments must all hold.
func (c *call) add(sc specs.LinuxSyscall, r uint32) {
	if len(sc.Args) == 0 {
		if !c.plain {
			c.plain, c.ret = true, r
		}
		return
	}
	seen, twice := [6]bool{}, false
	for _, a := range sc.Args {
		twice = twice || seen[a.Index]
		seen[a.Index] = true
	}
	if !twice {
		c.rules, c.rets = append(c.rules, sc), append(c.rets, r)
		return
	}
	for _, a := range sc.Args {
		one := sc
		one.Args = []specs.LinuxSeccompArg{a}
		c.rules, c.rets = append(c.rules, one), append(c.rets, r)
	}
}

// span is a range of numbers, from lo up to the next one's lo, with the code that answers them.
type span struct {
	lo   uint32
	code []instr
}

// ranges covers all numbers: neighbours with the same plain answer become one.
func ranges(calls []call, def uint32) []span {
	var out []span
	add := func(lo uint32, code []instr) {
		if n := len(out); n > 0 && len(code) == 1 && len(out[n-1].code) == 1 && out[n-1].code[0] == code[0] {
			return
		}
		out = append(out, span{lo, code})
	}
	next := uint32(0)
	for _, c := range calls {
		if c.nr > next {
			add(next, []instr{ret(def)})
		}
		add(c.nr, c.code())
		next = c.nr + 1
	}
	add(next, []instr{ret(def)})
	return out
}

// bisect makes a balanced tree. A jump reaches 255 instructions; a longer one goes over an unconditional jump.
func bisect(s []span) []instr {
	if len(s) == 1 {
		return s[0].code
	}
	mid := len(s) / 2
	left, right := bisect(s[:mid]), bisect(s[mid:])
	var head []instr
	if len(left) <= 255 {
		head = []instr{cond(unix.BPF_JGE, s[mid].lo, len(left), 0)}
	} else {
		head = []instr{cond(unix.BPF_JGE, s[mid].lo, 0, 1), jump(len(left))}
	}
	return append(append(head, left...), right...)
}

// code answers one call: its conditional rules in order, then the plain answer.
func (c *call) code() []instr {
	var out []instr
	for i, r := range c.rules {
		var block []instr
		for _, a := range r.Args {
			cnd, _ := condition(a)
			for j := range cnd {
				if cnd[j].jt == toMatch {
					cnd[j].jt = len(cnd) - j - 1
				}
				if cnd[j].jf == toMatch {
					cnd[j].jf = len(cnd) - j - 1
				}
			}
			block = append(block, cnd...)
		}
		block = append(block, ret(c.rets[i]))
		for j := range block {
			if block[j].jt == toFail {
				block[j].jt = len(block) - j - 1
			}
			if block[j].jf == toFail {
				block[j].jf = len(block) - j - 1
			}
		}
		out = append(out, block...)
	}
	return append(out, ret(c.ret))
}

// condition compares one 64-bit argument in two halves (struct seccomp_data: arguments from byte 16, little endian).
func condition(a specs.LinuxSeccompArg) ([]instr, error) {
	lo, hi := loadWord(16+8*uint32(a.Index)), loadWord(20+8*uint32(a.Index))
	vlo, vhi := uint32(a.Value), uint32(a.Value>>32)
	order := func(op uint16, last instr) []instr { // decided by the upper half unless that is equal
		return []instr{hi, cond(op, vhi, toMatch, 0), cond(unix.BPF_JEQ, vhi, 0, toFail), lo, last}
	}
	less := func(last instr) []instr {
		return []instr{hi, cond(unix.BPF_JGT, vhi, toFail, 0), cond(unix.BPF_JEQ, vhi, 0, toMatch), lo, last}
	}
	switch a.Op {
	case specs.OpEqualTo:
		return []instr{hi, cond(unix.BPF_JEQ, vhi, 0, toFail), lo, cond(unix.BPF_JEQ, vlo, 0, toFail)}, nil
	case specs.OpNotEqual:
		return []instr{hi, cond(unix.BPF_JEQ, vhi, 0, toMatch), lo, cond(unix.BPF_JEQ, vlo, toFail, 0)}, nil
	case specs.OpGreaterThan:
		return order(unix.BPF_JGT, cond(unix.BPF_JGT, vlo, 0, toFail)), nil
	case specs.OpGreaterEqual:
		return order(unix.BPF_JGT, cond(unix.BPF_JGE, vlo, 0, toFail)), nil
	case specs.OpLessThan:
		return less(cond(unix.BPF_JGE, vlo, toFail, 0)), nil
	case specs.OpLessEqual:
		return less(cond(unix.BPF_JGT, vlo, toFail, 0)), nil
	case specs.OpMaskedEqual:
		and := func(k uint32) instr { return instr{op: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, k: k} }
		return []instr{hi, and(vhi), cond(unix.BPF_JEQ, uint32(a.ValueTwo>>32), 0, toFail),
			lo, and(vlo), cond(unix.BPF_JEQ, uint32(a.ValueTwo), 0, toFail)}, nil
	}
	return nil, fmt.Errorf("op: %q is not known", a.Op)
}

// Operators lists the words for `features`.
func Operators() []string {
	return []string{string(specs.OpNotEqual), string(specs.OpLessThan), string(specs.OpLessEqual), string(specs.OpEqualTo),
		string(specs.OpGreaterEqual), string(specs.OpGreaterThan), string(specs.OpMaskedEqual)}
}
