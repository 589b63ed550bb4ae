package cgroup

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Scope is a cgroup that systemd makes.
type Scope struct {
	Unit  string // of systemd
	Slice string // the unit that it lies in
	Path  string // of the cgroup, below the one that is systemd's
}

// ParseScope reads a cgroupsPath in systemd's notation, SLICE:PREFIX:NAME, which means the unit PREFIX-NAME.scope in SLICE;
// an empty slice is the one given. An empty path means NAME itself in that slice.
func ParseScope(p, slice, name string) (Scope, error) {
	prefix := "skiff"
	if p != "" {
		parts := strings.Split(p, ":")
		if len(parts) != 3 || strings.Contains(p, "/") {
			return Scope{}, fmt.Errorf("linux.cgroupsPath: expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got %q instead", p)
		}
		if parts[0] != "" {
			slice = parts[0]
		}
		prefix, name = parts[1], parts[2]
	}
	switch {
	case !strings.HasSuffix(slice, ".slice"):
		return Scope{}, fmt.Errorf("linux.cgroupsPath: %q: %q is not the name of a slice", p, slice)
	case name == "":
		return Scope{}, fmt.Errorf("linux.cgroupsPath: %q: the name is empty", p)
	case strings.HasSuffix(name, ".slice"):
		return Scope{}, errors.New("linux.cgroupsPath: a container is a scope, not a slice")
	}
	dir := systemdPath(slice, prefix, name)
	return Scope{Unit: dir[strings.LastIndexByte(dir, '/')+1:], Slice: slice, Path: dir}, nil
}

// Allowed puts the list of devices in systemd's words (DeviceAllow= of systemd.resource-control(5)): what may be used when
// nothing else may. It is not strict when all may be used. A rule that forbids some of what an earlier one allows has no
// such words; the kernel has it from Set.
func Allowed(r *specs.LinuxResources) (strict bool, allow [][2]string, err error) {
	list, err := rules(r)
	for _, w := range list {
		all := w.typ == 'a' && w.major < 0 && w.minor < 0
		switch {
		case all:
			strict, allow = !w.allow, nil
		case w.allow && strict:
			for _, entry := range w.allowed() {
				if !slices.Contains(allow, entry) {
					allow = append(allow, entry)
				}
			}
		case !w.allow:
			for _, entry := range w.allowed() {
				allow = slices.DeleteFunc(allow, func(have [2]string) bool { return have == entry })
			}
		}
	}
	return strict, allow, err
}

// allowed is a rule as entries of the list.
func (w rule) allowed() (out [][2]string) {
	for _, k := range [...]struct {
		typ  byte
		name string
	}{{'c', "char"}, {'b', "block"}} {
		if w.typ != 'a' && w.typ != k.typ {
			continue
		}
		major, minor := strconv.FormatInt(w.major, 10), strconv.FormatInt(w.minor, 10)
		switch {
		case w.major < 0: // systemd has no words for a minor number of all kinds
			out = append(out, [2]string{k.name + "-*", w.access})
		case w.minor < 0:
			out = append(out, [2]string{k.name + "-" + major, w.access})
		default:
			out = append(out, [2]string{"/dev/" + k.name + "/" + major + ":" + minor, w.access})
		}
	}
	return out
}
