package main

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"go.skiff.dev/skiff/internal/kernel/caps"
	"go.skiff.dev/skiff/internal/kernel/mount"
	"go.skiff.dev/skiff/internal/kernel/namespace"
	"go.skiff.dev/skiff/internal/kernel/seccomp"
	"go.skiff.dev/skiff/internal/oci"
	"go.skiff.dev/skiff/internal/version"
)

func (a *app) features(args []string) (int, error) {
	fs := newFlags("features")
	if err := a.parse(fs, args, 0, 0); err != nil {
		return 1, err
	}
	yes, no := true, false
	var ns []string
	for _, k := range namespace.Kinds() {
		ns = append(ns, k.Type)
	}
	slices.Sort(ns)
	options := mount.Known()
	slices.Sort(options)
	return a.printJSON(features.Features{
		OCIVersionMin: "1.0.0", OCIVersionMax: specs.Version,
		Hooks: []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},

		MountOptions: slices.Compact(options),
		Linux: &features.Linux{
			Namespaces: ns, Capabilities: caps.All(),
			Cgroup: &features.Cgroup{V1: &yes, V2: &yes, Systemd: &yes, SystemdUser: &yes, Rdma: &yes},
			Seccomp: &features.Seccomp{Enabled: &yes, Actions: seccomp.Actions(), Operators: seccomp.Operators(),
				Archs:      []string{"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"},
				KnownFlags: seccomp.Flags(), SupportedFlags: seccomp.Flags()},
			Apparmor: &features.Apparmor{Enabled: &yes}, Selinux: &features.Selinux{Enabled: &yes},
			IntelRdt:        &features.IntelRdt{Enabled: &no},
			MemoryPolicy:    memoryPolicy(),
			NetDevices:      &features.NetDevices{Enabled: &yes},
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &yes}},
		},
		PotentiallyUnsafeConfigAnnotations: oci.Annotations(),
		Annotations:                        map[string]string{"dev.skiff.version": version.Skiff},
	})
}

func memoryPolicy() *features.MemoryPolicy {
	return &features.MemoryPolicy{
		Modes: []string{string(specs.MpolDefault), string(specs.MpolBind), string(specs.MpolInterleave), string(specs.MpolWeightedInterleave),
			string(specs.MpolPreferred), string(specs.MpolPreferredMany), string(specs.MpolLocal)},
		Flags: []string{string(specs.MpolFNumaBalancing), string(specs.MpolFRelativeNodes), string(specs.MpolFStaticNodes)},
	}
}
