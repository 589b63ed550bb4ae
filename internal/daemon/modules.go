package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// networkModules lists what the pods' network needs of the kernel, as modules.
// A distribution's kernel loads them when they are first asked for; a kernel
// without modprobe, or without the modules, answers with an error that names
// nothing.
func networkModules() []string {
	return []string{
		"bridge", "veth", "nf_tables", "nf_conntrack", "nf_conntrack_netlink",
		"nft_chain_nat", "nft_nat", "nft_masq", "nft_ct", "nft_fib_inet", "nft_numgen", "nft_reject_inet",
	}
}

// explainNetwork adds to an error of the network, if it is one of those by which
// the kernel says "I have no such thing", what the kernel may lack and the way
// out.
func explainNetwork(err error) error {
	lacks := func(e unix.Errno) bool { return errors.Is(err, e) }
	// nftables says ENOENT of an expression, rtnetlink EOPNOTSUPP of a kind of
	// link, socket(2) EPROTONOSUPPORT of a whole family.
	if !slices.ContainsFunc([]unix.Errno{unix.ENOENT, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT}, lacks) {
		return err
	}
	missing := missingModules(networkModules())
	if len(missing) == 0 {
		return err
	}
	list := strings.Join(missing, " ")
	return fmt.Errorf("this kernel lacks what the pods' network needs, one of %s: load them with `modprobe -a %s`, or use a kernel that has bridge, veth and nftables with NAT: %w",
		strings.Join(missing, ", "), list, err)
}

// missingModules are those that are neither loaded nor known to be built in.
func missingModules(names []string) []string {
	loaded, err := os.ReadFile("/proc/modules")
	if err != nil {
		return nil // a kernel without modules: nothing can be said
	}
	var builtin []byte
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		// Where the file is missing, nothing is known to be built in.
		builtin, _ = os.ReadFile(filepath.Join("/lib/modules", string(bytes.TrimSpace(release)), "modules.builtin"))
	}
	return absent(names, string(loaded), string(builtin))
}

// absent are the names that neither /proc/modules nor modules.builtin has.
func absent(names []string, loaded, builtin string) []string {
	have := map[string]bool{}
	for line := range strings.Lines(loaded) {
		name, _, _ := strings.Cut(line, " ")
		have[name] = true
	}
	for line := range strings.Lines(builtin) {
		name := strings.TrimSuffix(path.Base(strings.TrimSpace(line)), ".ko")
		have[strings.ReplaceAll(name, "-", "_")] = true
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return have[name] })
}
