package container

import (
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/kernel/caps"
	"go.skiff.dev/skiff/internal/oci/defaults"
)

// capabilities applies what the pod adds and drops to the default. Inheritable
// and ambient stay empty (CVE-2022-29162) but for what add_ambient names.
func capabilities(sc *runtimeapi.LinuxContainerSecurityContext) (*specs.LinuxCapabilities, error) {
	have := defaults.Capabilities()
	if sc.GetPrivileged() {
		have = grantable()
	} else {
		add, drop := sc.GetCapabilities().GetAddCapabilities(), sc.GetCapabilities().GetDropCapabilities()
		if hasAll(add) {
			have = grantable()
		}
		if hasAll(drop) {
			have = nil
		}
		for _, c := range add {
			name, err := capabilityName(c)
			if err != nil {
				return nil, err
			}
			if name != "" && !slices.Contains(have, name) {
				have = append(have, name)
			}
		}
		for _, c := range drop {
			name, err := capabilityName(c)
			if err != nil {
				return nil, err
			}
			have = slices.DeleteFunc(have, func(h string) bool { return h == name })
		}
	}
	ambient, err := ambientOf(sc)
	if err != nil {
		return nil, err
	}
	for _, name := range ambient {
		if !slices.Contains(have, name) {
			have = append(have, name)
		}
	}
	sets := defaults.CapabilitySets(have)
	sets.Inheritable, sets.Ambient = ambient, ambient
	return sets, nil
}

// ambientOf are the capabilities that a process keeps without being root
// (capabilities(7)); the kernel wants them in the other sets as well.
func ambientOf(sc *runtimeapi.LinuxContainerSecurityContext) ([]string, error) {
	var out []string
	for _, c := range sc.GetCapabilities().GetAddAmbientCapabilities() {
		name, err := capabilityName(c)
		if err != nil {
			return nil, err
		}
		if name == "" {
			return nil, invalid("ambient capability %q: each must be named", c)
		}
		out = append(out, name)
	}
	return out, nil
}

// grantable are all capabilities that this node has to give: skiff itself may
// run with fewer than the kernel knows.
func grantable() []string {
	_, permitted, _, err := caps.Current()
	if err != nil {
		return caps.All()
	}
	var out []string
	for n, name := range caps.All() {
		if permitted.Has(n) {
			out = append(out, name)
		}
	}
	return out
}

func hasAll(list []string) bool {
	return slices.ContainsFunc(list, func(c string) bool { return strings.EqualFold(strings.TrimPrefix(strings.ToUpper(c), "CAP_"), "ALL") })
}

// capabilityName is the kernel's name of what a pod writes: with or without
// CAP_, in any case; empty for ALL.
func capabilityName(text string) (string, error) {
	name := strings.ToUpper(text)
	if !strings.HasPrefix(name, "CAP_") {
		name = "CAP_" + name
	}
	if name == "CAP_ALL" {
		return "", nil
	}
	if !slices.Contains(caps.All(), name) {
		return "", invalid("unknown capability %q", text)
	}
	return name, nil
}
