package nft

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// MapNames lists the maps and sets of the table. The error wraps
// fs.ErrNotExist if the table is not there.
func (c *Conn) MapNames() ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.exists(); err != nil {
		return nil, err
	}
	sets, err := c.nl.GetSets(c.table)
	if err != nil {
		return nil, fmt.Errorf("listing nftables maps: %w", err)
	}
	var names []string
	for _, s := range sets {
		names = append(names, s.Name)
	}
	return names, nil
}

// exists answers by listing tables: the library loses the error number of a
// question about a table that is not there.
func (c *Conn) exists() error {
	tables, err := c.nl.ListTablesOfFamily(c.table.Family)
	if err != nil {
		return fmt.Errorf("listing nftables tables: %w", err)
	}
	for _, t := range tables {
		if t.Name == c.table.Name {
			return nil
		}
	}
	return fmt.Errorf("looking up nftables table %q: %w", c.table.Name, fs.ErrNotExist)
}

// Elements lists the elements of a map that is there.
func (c *Conn) Elements(m Map) ([]Element, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.elements(m)
}

func (c *Conn) elements(m Map) ([]Element, error) {
	list, err := c.nl.GetSetElements(m.kernel(c.table))
	if err != nil {
		return nil, fmt.Errorf("listing elements of nftables map %q: %w", m.Name, err)
	}
	elements := make([]Element, 0, len(list))
	for _, e := range list {
		el := Element{Key: string(e.Key)}
		switch {
		case m.Verdict:
			el.Data = verdictChain(e.Val)
		case len(m.Data) > 0:
			el.Data = string(e.Val)
		}
		elements = append(elements, el)
	}
	return elements, nil
}

// verdictChain finds NFTA_VERDICT_CHAIN in the nested attributes of a verdict.
func verdictChain(b []byte) string {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return ""
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		if ad.Type() == unix.NFTA_VERDICT_CHAIN {
			return ad.String()
		}
	}
	return ""
}

// Inventory reads which chains the table has, without their rules, and the
// elements of the given maps. Maps that are not there are left out.
func (c *Conn) Inventory(maps []Map) (Ruleset, error) {
	rs := Ruleset{Table: c.table.Name, Elements: map[string][]Element{}}
	names, err := c.MapNames()
	if err != nil {
		return rs, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range maps {
		if !slices.Contains(names, m.Name) {
			continue
		}
		rs.Maps = append(rs.Maps, m)
		if rs.Elements[m.Name], err = c.elements(m); err != nil {
			return rs, err
		}
	}
	chains, err := c.nl.ListChainsOfTableFamily(c.table.Family)
	if err != nil {
		return rs, fmt.Errorf("listing nftables chains: %w", err)
	}
	for _, k := range chains {
		if k.Table.Name == c.table.Name {
			rs.Chains = append(rs.Chains, Chain{Name: k.Name, Type: string(k.Type)})
		}
	}
	return rs, nil
}

// DropPolicies names the base chains of other tables ("ip filter FORWARD")
// that drop by default at one of the hooks. What they drop, no rule of this
// table can let through: all base chains of a hook must accept a packet.
func (c *Conn) DropPolicies(hooks ...Hook) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	chains, err := c.nl.ListChains()
	if err != nil {
		return nil, fmt.Errorf("listing nftables chains: %w", err)
	}
	var found []string
	for _, k := range chains {
		if k.Hooknum == nil || k.Policy == nil || *k.Policy != nftables.ChainPolicyDrop || k.Table.Name == c.table.Name {
			continue
		}
		for _, h := range hooks {
			if *h.kernel() == *k.Hooknum && familyIP(k.Table.Family) {
				found = append(found, fmt.Sprintf("%s %s %s", familyName(k.Table.Family), k.Table.Name, k.Name))
			}
		}
	}
	return found, nil
}

func familyIP(f nftables.TableFamily) bool {
	return f == nftables.TableFamilyIPv4 || f == nftables.TableFamilyINet
}

func familyName(f nftables.TableFamily) string {
	if f == nftables.TableFamilyINet {
		return "inet"
	}
	return "ip"
}
