package main

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.skiff.dev/skiff/test/conformance/suite"
)

// programme is the selection that is the conformance programme.
const programme = "conformance"

// selections are other parts of the suite, by what their names match and what
// they do not.
var selections = map[string]struct{ match, not string }{
	"node":           {`\[NodeConformance\]`, without},
	"network":        {`^\[sig-network\]`, without + `|\[Feature:(IPv6DualStack|.*Ingress|.*LoadBalancer|SCTP.*)\]|NetworkPolicy`},
	"network-policy": {`NetworkPolicy|Netpol`, `SCTP|IPv6`},
	// Those of quotas and ranges wait for these kinds.
	"resize":  {`InPlace Resize`, `\((limit-ranger|resource-quota)\)`},
	"storage": {`^\[sig-storage\]`, without + `|\[Driver: (csi|pd\.|azure|nfs|cinder|vsphere|local)|CSI (Mock|Volumes)|GCE|vSphere|Dynamic Provisioning|Multi-AZ|\[Disruptive\]`},
}

// without is what needs more than a cluster of one Linux machine: other systems,
// clouds, drivers of storage whose images are not made here, features that are
// off, and tests that upstream calls flaky.
const without = `\[Feature:Windows\]|Windows|\[Flaky\]|\[Alpha\]|\[Beta\]|\[FeatureGate:|\[Feature:`

// choose lists the tests of a selection that are in focus.
func (b built) choose(ctx context.Context, o options) ([]string, error) {
	names, err := b.selected(ctx, o.selection)
	if err != nil {
		return nil, err
	}
	focus, err := regexp.Compile(o.focus)
	if err != nil {
		return nil, fmt.Errorf("reading the focus: %w", err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !focus.MatchString(n) })
	if len(names) == 0 {
		return nil, fmt.Errorf("no test of %s matches %q", o.selection, o.focus)
	}
	return names, nil
}

func (b built) selected(ctx context.Context, selection string) ([]string, error) {
	if selection == programme {
		return suite.Conformance(b.module)
	}
	s, ok := selections[selection]
	if !ok {
		known := append(slices.Sorted(maps.Keys(selections)), programme)
		return nil, fmt.Errorf("there is no selection %q, only %s", selection, strings.Join(known, ", "))
	}
	all, err := suite.Suite{Binary: b.suite}.All(ctx)
	if err != nil {
		return nil, err
	}
	match, not := regexp.MustCompile(s.match), regexp.MustCompile(s.not)
	return slices.DeleteFunc(all, func(n string) bool { return !match.MatchString(n) || not.MatchString(n) }), nil
}

// serial tells whether a test must run alone.
func serial(name string) bool {
	return strings.Contains(name, "[Serial]") || strings.Contains(name, "[Disruptive]")
}
