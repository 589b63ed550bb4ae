package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// rule is one line of a device list; a later one wins. -1 is any number.
type rule struct {
	allow        bool
	typ          byte // 'a', 'b', 'c'
	major, minor int64
	access       string
}

// standardRules are allowed in every container that has a device list at all: making any node (which gives no access),
// and using the nodes that runtime-spec has every container get, its terminals included.
var standardRules = [...]rule{
	{true, 'c', -1, -1, "m"}, {true, 'b', -1, -1, "m"},
	{true, 'c', 1, 3, "rwm"}, {true, 'c', 1, 5, "rwm"}, {true, 'c', 1, 7, "rwm"}, {true, 'c', 1, 8, "rwm"},
	{true, 'c', 1, 9, "rwm"}, {true, 'c', 5, 0, "rwm"}, {true, 'c', 5, 2, "rwm"}, {true, 'c', 136, -1, "rwm"},
}

// rules puts the configuration's list and the standard ones together; nil: no list, everything stays allowed.
func rules(r *specs.LinuxResources) ([]rule, error) {
	if len(r.Devices) == 0 {
		return nil, nil
	}
	var out []rule
	for i, d := range r.Devices {
		w := rule{allow: d.Allow, typ: 'a', major: -1, minor: -1, access: d.Access}
		switch d.Type {
		case "", "a":
		case "b", "c":
			w.typ = d.Type[0]
		default:
			return nil, fmt.Errorf("devices[%d].type: %q is not one of a, b, c", i, d.Type)
		}
		if d.Major != nil {
			w.major = *d.Major
		}
		if d.Minor != nil {
			w.minor = *d.Minor
		}
		if w.major < -1 || w.minor < -1 {
			return nil, fmt.Errorf("devices[%d]: %d:%d is not the number of a device, nor -1 for all", i, w.major, w.minor)
		}
		if w.access == "" {
			w.access = "rwm"
		}
		// Configurations have been seen that mean the type by it; runc takes no notice.
		w.access = strings.ReplaceAll(w.access, "a", "")
		if strings.Trim(w.access, "rwm") != "" {
			return nil, fmt.Errorf("devices[%d].access: %q has letters other than r, w, m", i, d.Access)
		}
		out = append(out, w)
	}
	// A list that ends with "everything" wants just that.
	if last := out[len(out)-1]; last.typ == 'a' && last.major < 0 && last.minor < 0 && last.allow {
		return out, nil
	}
	return append(out, standardRules[:]...), nil
}

func setDevicesV1(_ *Manager, dir string, r *specs.LinuxResources) error {
	list, err := rules(r)
	if err != nil || list == nil {
		return err
	}
	if dir == "" {
		return errors.New("the controller is not mounted")
	}
	allow, err := openWrite(dir, "devices.allow")
	if err != nil {
		return err
	}
	defer unix.Close(allow)
	deny, err := openWrite(dir, "devices.deny")
	if err != nil {
		return err
	}
	defer unix.Close(deny)
	for _, w := range list {
		fd := deny
		if w.allow {
			fd = allow
		}
		if _, err := unix.Write(fd, []byte(w.String())); err != nil {
			return fmt.Errorf("writing %q to %s: %w", w.String(), dir, err)
		}
	}
	return nil
}

// String is a line as v1 wants it.
func (w rule) String() string {
	if w.typ == 'a' && w.major < 0 && w.minor < 0 {
		return "a"
	}
	num := func(n int64) string {
		if n < 0 {
			return "*"
		}
		return strconv.FormatInt(n, 10)
	}
	return fmt.Sprintf("%c %s:%s %s", w.typ, num(w.major), num(w.minor), w.access)
}
