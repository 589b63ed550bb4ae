// Package nft drives one nftables table of family inet through netlink.
//
// A Ruleset is the table as data: maps, chains, rules. A Batch changes the
// kernel's table in one transaction: all of it happens, or nothing. Rules are
// lists of the kernel's own expressions, built by the small functions of
// rule.go; maps are few, large and shared, so that a packet costs one lookup
// and a change costs one element.
//
// The table may be shared by several organs of one skiff: each owns its chains
// and maps, and no batch touches what is not named in it.
//
// A worked example:
//
//	c, err := nft.Open("skiff")
//	b := c.Batch()
//	b.AddMap(nft.Map{Name: "services", Key: []nft.Type{nft.Addr4, nft.Proto, nft.Port}, Verdict: true})
//	b.AddElements(services, elements)
//	b.SetChain(nft.Chain{Name: "prerouting", Hook: nft.Prerouting, Type: nft.NAT, Priority: -100, Rules: rules})
//	err = b.Commit()
package nft

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Hook is where a base chain is called from.
type Hook int

// The hooks of family inet; None makes a chain that only others jump to.
const (
	None Hook = iota
	Prerouting
	Input
	Forward
	Output
	Postrouting
)

func (h Hook) String() string {
	return [...]string{"none", "prerouting", "input", "forward", "output", "postrouting"}[h]
}

func (h Hook) kernel() *nftables.ChainHook {
	return [...]*nftables.ChainHook{nil, nftables.ChainHookPrerouting, nftables.ChainHookInput,
		nftables.ChainHookForward, nftables.ChainHookOutput, nftables.ChainHookPostrouting}[h]
}

// The chain types.
const (
	NAT    = string(nftables.ChainTypeNAT)
	Filter = string(nftables.ChainTypeFilter)
)

// Rule is a list of expressions, with a comment that `nft list` shows too.
type Rule struct {
	Exprs   []expr.Any
	Comment string
}

// Chain is a chain with all its rules.
type Chain struct {
	Name     string
	Hook     Hook
	Type     string
	Priority int
	Rules    []Rule
}

// Map is a map or, without Data and Verdict, a set.
type Map struct {
	Name string
	Key  []Type
	Data []Type
	// Verdict makes a verdict map: data is the chain to go to.
	Verdict bool
	// Dynamic maps are filled by packets; their elements time out. Size bounds them.
	Dynamic bool
	Size    uint32
}

// Element is one element of a map. Key and Data hold the bytes that Key builds;
// for a verdict map Data is the name of the chain to go to.
type Element struct {
	Key, Data string
}

// Ruleset is a table as data.
type Ruleset struct {
	Table    string
	Maps     []Map
	Chains   []Chain
	Elements map[string][]Element
}

func (m Map) kernel(t *nftables.Table) *nftables.Set {
	s := &nftables.Set{
		Table: t, Name: m.Name,
		KeyType:       datatype(m.Key),
		Concatenation: len(m.Key) > 1,
		Dynamic:       m.Dynamic, HasTimeout: m.Dynamic, Size: m.Size,
	}
	switch {
	case m.Verdict:
		s.IsMap, s.DataType = true, nftables.TypeVerdict
	case len(m.Data) > 0:
		s.IsMap, s.DataType = true, datatype(m.Data)
	}
	return s
}
