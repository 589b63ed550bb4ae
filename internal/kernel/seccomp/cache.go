package seccomp

import (
	"encoding/binary"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Cache keeps compiled profiles by all that is in them, so that a thousand containers with one profile compile it once.
// The zero value is ready; nil compiles each time. At most cacheSize profiles are kept. The key is the profile written
// down (some KiB) and not its hash: what it takes to start the hash's library would be paid by each container's init.
type Cache struct {
	mu sync.Mutex
	m  map[string]*Program
}

const cacheSize = 64

// Compile is the package's Compile with memory.
func (c *Cache) Compile(s *specs.LinuxSeccomp) (*Program, error) {
	if c == nil {
		return Compile(s)
	}
	key := string(canonical(s))
	c.mu.Lock()
	p := c.m[key]
	c.mu.Unlock()
	if p != nil {
		return p, nil
	}
	p, err := Compile(s)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) >= cacheSize {
		c.m = map[string]*Program{}
	}
	c.m[key] = p
	return p, nil
}

// canonical writes a profile down so that different profiles differ: every string and list has its length in front.
func canonical(s *specs.LinuxSeccomp) []byte {
	b := make([]byte, 0, 8192)
	num := func(n uint64) { b = binary.AppendUvarint(b, n) }
	str := func(v string) { num(uint64(len(v))); b = append(b, v...) }
	opt := func(v *uint) {
		if v == nil {
			num(0)
		} else {
			num(uint64(*v) + 1)
		}
	}
	str(string(s.DefaultAction))
	opt(s.DefaultErrnoRet)
	num(uint64(len(s.Architectures)))
	for _, a := range s.Architectures {
		str(string(a))
	}
	if s.Flags == nil { // no list and an empty list mean different flags
		num(0)
	} else {
		num(uint64(len(s.Flags)) + 1)
	}
	for _, f := range s.Flags {
		str(string(f))
	}
	num(uint64(len(s.Syscalls)))
	for _, c := range s.Syscalls {
		str(string(c.Action))
		opt(c.ErrnoRet)
		num(uint64(len(c.Names)))
		for _, n := range c.Names {
			str(n)
		}
		num(uint64(len(c.Args)))
		for _, a := range c.Args {
			num(uint64(a.Index))
			num(a.Value)
			num(a.ValueTwo)
			str(string(a.Op))
		}
	}
	return b
}
