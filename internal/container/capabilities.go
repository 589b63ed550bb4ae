package container

import (
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"skiff.dev/skiff/internal/kernel/caps"
)

// defaultCapabilities are what a container has that asks for nothing: the nine
// that CRI-O ships, fewer than containerd's fourteen (no raw sockets, no device
// nodes, no file capabilities, no chroot, no audit).
func defaultCapabilities() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID",
		"CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_KILL",
	}
}

// capabilities applies what the pod adds and drops to the default. Inheritable
// and ambient stay empty (CVE-2022-29162).
func capabilities(sc *runtimeapi.LinuxContainerSecurityContext) (*specs.LinuxCapabilities, error) {
	have := defaultCapabilities()
	if sc.GetPrivileged() {
		have = caps.All()
	} else {
		add, drop := sc.GetCapabilities().GetAddCapabilities(), sc.GetCapabilities().GetDropCapabilities()
		if hasAll(add) {
			have = caps.All()
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
	return &specs.LinuxCapabilities{Bounding: have, Effective: have, Permitted: have}, nil
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
