package nft

import (
	"fmt"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
)

// elementsPerMessage keeps a message's element list under the 64 KiB that a
// netlink attribute can have; an element takes up to 200 bytes.
const elementsPerMessage = 256

// batchBuffer is the send buffer of the socket: a transaction is one send.
const batchBuffer = 64 << 20

// Conn is a connection to the table of one skiff.
type Conn struct {
	mu    sync.Mutex
	nl    *nftables.Conn
	table *nftables.Table
}

// Open connects to the table in the caller's network namespace. The table is
// made by the first batch that commits.
func Open(table string) (*Conn, error) {
	nl, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		// Without CAP_NET_ADMIN in the first user namespace the force variant
		// fails and the default size limits a batch.
		_ = c.SetWriteBuffer(batchBuffer)
		_ = c.SetReadBuffer(batchBuffer)
		return nil
	}))
	if err != nil {
		return nil, fmt.Errorf("opening nftables socket: %w", err)
	}
	return &Conn{nl: nl, table: &nftables.Table{Name: table, Family: nftables.TableFamilyINet}}, nil
}

// Close closes the connection.
func (c *Conn) Close() error { return c.nl.CloseLasting() }

// DeleteTable removes the table and all that is in it, if it is there.
func (c *Conn) DeleteTable() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nl.AddTable(c.table) // deleting what is not there would be an error
	c.nl.DelTable(c.table)
	if err := c.nl.Flush(); err != nil {
		return fmt.Errorf("deleting nftables table %q: %w", c.table.Name, err)
	}
	return nil
}

// Batch is a transaction under construction.
type Batch struct {
	c    *Conn
	maps uint32
	ops  []func(*nftables.Conn) error
}

// Batch starts a transaction; it always makes sure that the table exists.
func (c *Conn) Batch() *Batch {
	b := &Batch{c: c}
	b.add(func(nl *nftables.Conn) error { nl.AddTable(c.table); return nil })
	return b
}

func (b *Batch) add(op func(*nftables.Conn) error) { b.ops = append(b.ops, op) }

// Empty reports whether nothing was added to the batch.
func (b *Batch) Empty() bool { return len(b.ops) == 1 }

// AddMap makes a map, or keeps the one that is there with the same definition.
func (b *Batch) AddMap(m Map) {
	b.maps++
	id := b.maps
	b.add(func(nl *nftables.Conn) error {
		set := m.kernel(b.c.table)
		set.ID = id // unique within a batch; the library's own counter is not safe for two connections
		return nl.AddSet(set, nil)
	})
}

// DeleteMap deletes a map; rules that use it must be gone.
func (b *Batch) DeleteMap(m Map) {
	b.add(func(nl *nftables.Conn) error { nl.DelSet(m.kernel(b.c.table)); return nil })
}

// FlushMap removes all elements.
func (b *Batch) FlushMap(m Map) {
	b.add(func(nl *nftables.Conn) error { nl.FlushSet(m.kernel(b.c.table)); return nil })
}

// AddElements adds elements. One that is there with other data is an error.
func (b *Batch) AddElements(m Map, elements []Element) {
	b.elements(m, elements, func(nl *nftables.Conn, s *nftables.Set, e []nftables.SetElement) error {
		return nl.SetAddElements(s, e)
	})
}

// DeleteElements deletes elements by key; one that is not there is an error.
func (b *Batch) DeleteElements(m Map, elements []Element) {
	b.elements(m, elements, func(nl *nftables.Conn, s *nftables.Set, e []nftables.SetElement) error {
		return nl.SetDeleteElements(s, e)
	})
}

func (b *Batch) elements(m Map, elements []Element,
	send func(*nftables.Conn, *nftables.Set, []nftables.SetElement) error) {
	for len(elements) > 0 {
		part := elements[:min(len(elements), elementsPerMessage)]
		elements = elements[len(part):]
		b.add(func(nl *nftables.Conn) error {
			list := make([]nftables.SetElement, len(part))
			for i, e := range part {
				list[i] = m.element(e)
			}
			return send(nl, m.kernel(b.c.table), list)
		})
	}
}

func (m Map) element(e Element) nftables.SetElement {
	el := nftables.SetElement{Key: []byte(e.Key)}
	switch {
	case m.Verdict:
		el.VerdictData = &expr.Verdict{Kind: expr.VerdictGoto, Chain: e.Data}
	case len(m.Data) > 0:
		el.Val = []byte(e.Data)
	}
	return el
}

// SetChain makes the chain, or empties it if it is there, and fills it with
// its rules.
func (b *Batch) SetChain(ch Chain) {
	b.add(func(nl *nftables.Conn) error {
		k := &nftables.Chain{Name: ch.Name, Table: b.c.table}
		if ch.Hook != None {
			k.Hooknum, k.Type = ch.Hook.kernel(), nftables.ChainType(ch.Type)
			k.Priority = new(nftables.ChainPriority(ch.Priority))
		}
		nl.AddChain(k)
		nl.FlushChain(k)
		for _, r := range ch.Rules {
			rule := &nftables.Rule{Table: b.c.table, Chain: k, Exprs: r.Exprs}
			if r.Comment != "" {
				rule.UserData = userdata.AppendString(nil, userdata.TypeComment, r.Comment)
			}
			nl.AddRule(rule)
		}
		return nil
	})
}

// DeleteChain empties and deletes a chain; nothing may lead to it any more.
func (b *Batch) DeleteChain(name string) {
	b.add(func(nl *nftables.Conn) error {
		k := &nftables.Chain{Name: name, Table: b.c.table}
		nl.FlushChain(k)
		nl.DelChain(k)
		return nil
	})
}

// Commit carries the batch out as one transaction.
func (b *Batch) Commit() error {
	b.c.mu.Lock()
	defer b.c.mu.Unlock()
	for _, op := range b.ops {
		if err := op(b.c.nl); err != nil {
			return fmt.Errorf("encoding nftables batch: %w", err)
		}
	}
	if err := b.c.nl.Flush(); err != nil {
		return fmt.Errorf("changing nftables table %q: %w", b.c.table.Name, refusal(err))
	}
	return nil
}
