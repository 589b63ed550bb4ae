package anatomy

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Network is the pod's place in the network.
type Network struct {
	// HostNetwork tells that the pod lives in the host's network namespace.
	HostNetwork bool     `json:"hostNetwork,omitempty"`
	Addresses   []string `json:"addresses"`
	Pod         Link     `json:"pod,omitzero"`
	Host        Link     `json:"host,omitzero"`
}

// Link is one end of a veth pair.
type Link struct {
	Name  string `json:"name"`
	Index int    `json:"index"`
	// Peer is the index of the other end, in the other end's namespace.
	Peer   int    `json:"peer"`
	MAC    string `json:"mac,omitempty"`
	MTU    int    `json:"mtu,omitempty"`
	Bridge string `json:"bridge,omitempty"`
}

// readNetwork reads the pod's addresses and both ends of its link.
func readNetwork(pause int, hostInterface string, hostNetwork bool) Network {
	n := Network{HostNetwork: hostNetwork}
	if hostNetwork || hostInterface == "" {
		return n
	}
	n.Addresses = localAddresses(pause)
	dir := filepath.Join("/sys/class/net", hostInterface)
	n.Host = Link{
		Name: hostInterface, Index: number(line(dir, "ifindex")), Peer: number(line(dir, "iflink")),
		MAC: line(dir, "address"), MTU: number(line(dir, "mtu")),
	}
	if target, err := os.Readlink(filepath.Join(dir, "master")); err == nil {
		n.Host.Bridge = filepath.Base(target)
	}
	n.Pod = Link{Name: deviceName(pause, n.Host.Peer), Index: n.Host.Peer, Peer: n.Host.Index}
	return n
}

// deviceName finds the link with an index in the network namespace of pid.
// /proc/PID/net/igmp is the one text file that gives both (proc_pid_net(5)).
func deviceName(pid, index int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/igmp", pid))
	if err != nil {
		return ""
	}
	for l := range strings.SplitSeq(string(data), "\n") {
		fields := strings.Fields(l)
		if len(fields) >= 2 && !strings.HasPrefix(l, "\t") && number(fields[0]) == index && index != 0 {
			return fields[1]
		}
	}
	return ""
}

// localAddresses reads the IPv4 addresses of pid's network namespace from its
// routing trie (/proc/PID/net/fib_trie), loopback left out.
func localAddresses(pid int) []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/fib_trie", pid))
	if err != nil {
		return nil
	}
	return parseTrie(string(data))
}

// parseTrie returns the leaves of kind "host LOCAL".
func parseTrie(trie string) []string {
	var found []string
	leaf := ""
	for l := range strings.SplitSeq(trie, "\n") {
		l = strings.TrimSpace(l)
		if rest, ok := strings.CutPrefix(l, "|-- "); ok {
			leaf = rest
			continue
		}
		if strings.HasSuffix(l, "host LOCAL") && !strings.HasPrefix(leaf, "127.") && !slices.Contains(found, leaf) {
			found = append(found, leaf)
		}
	}
	return found
}
