package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/oci/defaults"
)

func (a *app) spec(args []string) (int, error) {
	fs := newFlags("spec")
	bundle := fs.String("bundle", "", "")
	fs.StringVar(bundle, "b", "", "")
	rootless := fs.Bool("rootless", false, "")
	if err := a.parse(fs, args, 0, 0); err != nil {
		return 1, err
	}
	s := defaults.Spec()
	if l, err := cgroup.Detect(); err == nil && !l.V2 {
		leaveOut(s, specs.CgroupNamespace)
	}
	if *rootless {
		makeRootless(s)
	}
	path := filepath.Join(*bundle, "config.json")
	if _, err := os.Lstat(path); err == nil {
		return 1, fmt.Errorf("file %s exists. Remove it first", path)
	}
	b, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return 1, err
	}
	return 0, os.WriteFile(path, b, 0o666)
}

// leaveOut drops a namespace. That of cgroups is only asked for on version 2, as by runc: on version 1 the container sees
// its own directories without one, and programs there expect the host's paths.
func leaveOut(s *specs.Spec, t specs.LinuxNamespaceType) {
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == t })
}

// makeRootless maps the caller to root in a user namespace and leaves out what it may not have there.
func makeRootless(s *specs.Spec) {
	leaveOut(s, specs.NetworkNamespace)
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: uint32(os.Geteuid()), Size: 1}}
	s.Linux.GIDMappings = []specs.LinuxIDMapping{{HostID: uint32(os.Getegid()), Size: 1}}
	s.Linux.Resources = nil
	var ms []specs.Mount
	for _, m := range s.Mounts {
		switch m.Destination {
		case "/sys":
			m = specs.Mount{Destination: "/sys", Type: "none", Source: "/sys",
				Options: []string{"rbind", "nosuid", "noexec", "nodev", "ro"}}
		case "/sys/fs/cgroup":
			continue
		case "/dev/pts":
			m.Options = []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}
		}
		ms = append(ms, m)
	}
	s.Mounts = ms
}
