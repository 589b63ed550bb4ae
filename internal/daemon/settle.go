package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"go.skiff.dev/skiff/internal/config"
	"go.skiff.dev/skiff/internal/kernel/durable"
)

// settled is what a skiff chose at its first start and keeps: the cluster's
// objects carry addresses of these ranges.
type settled struct {
	ClusterCIDR netip.Prefix `json:"clusterCIDR"`
	ServiceCIDR netip.Prefix `json:"serviceCIDR"`
}

// settle fills in what depends on this machine: the node's address, ranges that
// collide with no route, a free port for the node agent.
func settle(cfg *config.Config, given map[string]bool) error {
	if given["kubelet-port"] && !portFree(cfg.KubeletPort) {
		return fmt.Errorf("TCP port %d for the node agent is in use by another process; choose another one with --kubelet-port", cfg.KubeletPort)
	}
	if err := settleRanges(cfg, given); err != nil {
		return err
	}
	if !cfg.NodeIP.IsValid() {
		cfg.NodeIP = nodeAddress(cfg)
	}
	if !portFree(cfg.KubeletPort) {
		port, err := freePort()
		if err != nil {
			return err
		}
		cfg.KubeletPort = port
	}
	return nil
}

// settleRanges picks the first free pair of ranges where none was given, and
// holds on to what an earlier start picked.
func settleRanges(cfg *config.Config, given map[string]bool) error {
	file := filepath.Join(cfg.DataDir, "ranges.json")
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	data, err := os.ReadFile(file)
	switch {
	case err == nil:
		return keepRanges(cfg, given, file, data)
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("reading the ranges chosen at the first start: %w", err)
	}
	taken, err := routes(cfg.BridgeName())
	if err != nil {
		return err
	}
	for i := 0; !given["cluster-cidr"] && !given["service-cidr"] && i < 100 && (taken.hits(cfg.ClusterCIDR) || taken.hits(cfg.ServiceCIDR)); i++ {
		second := byte(44 + 2*i)
		cfg.ClusterCIDR = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, second, 0, 0}), 16)
		cfg.ServiceCIDR = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, second + 1, 0, 0}), 16)
		cfg.ClusterDNS = config.DNSOf(cfg.ServiceCIDR)
	}
	for name, p := range map[string]netip.Prefix{"cluster-cidr": cfg.ClusterCIDR, "service-cidr": cfg.ServiceCIDR} {
		if taken.hits(p) {
			return fmt.Errorf("%s %s overlaps a route of this machine (%s); choose another range with --%s", name, p, taken.hit(p), name)
		}
	}
	return writeRanges(cfg, file)
}

func writeRanges(cfg *config.Config, file string) error {
	data, err := json.Marshal(settled{ClusterCIDR: cfg.ClusterCIDR, ServiceCIDR: cfg.ServiceCIDR})
	if err != nil {
		return fmt.Errorf("encoding the ranges: %w", err)
	}
	return durable.WriteFile(file, data, 0o600)
}

func keepRanges(cfg *config.Config, given map[string]bool, file string, data []byte) error {
	var kept settled
	if err := json.Unmarshal(data, &kept); err != nil {
		return fmt.Errorf("reading %s: %w; it holds cluster-cidr and service-cidr of this cluster: restore it, or remove the data directory to begin anew", file, err)
	}
	for name, pair := range map[string][2]netip.Prefix{
		"cluster-cidr": {cfg.ClusterCIDR, kept.ClusterCIDR},
		"service-cidr": {cfg.ServiceCIDR, kept.ServiceCIDR},
	} {
		if given[name] && pair[0] != pair[1] {
			return fmt.Errorf("%s is %s, but this cluster was made with %s; give that one, or begin anew with `skiff down --purge`", name, pair[0], pair[1])
		}
	}
	if kept.ServiceCIDR != cfg.ServiceCIDR && !given["cluster-dns"] {
		cfg.ClusterDNS = config.DNSOf(kept.ServiceCIDR)
	}
	cfg.ClusterCIDR, cfg.ServiceCIDR = kept.ClusterCIDR, kept.ServiceCIDR
	return nil
}

// nodeAddress is the source address of the default route, else any global
// address, else the pods' gateway: a machine without a network is still a node.
func nodeAddress(cfg *config.Config) netip.Addr {
	// No packet is sent: connecting a UDP socket only asks for a route.
	// 192.0.2.0/24 is for documentation (RFC 5737).
	if conn, err := net.Dial("udp4", "192.0.2.1:9"); err == nil {
		defer conn.Close()
		if at, err := netip.ParseAddrPort(conn.LocalAddr().String()); err == nil {
			return at.Addr()
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err == nil {
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
				return p.Addr()
			}
		}
	}
	return cfg.ClusterCIDR.Addr().Next()
}

func portFree(port int) bool {
	l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		return 0, fmt.Errorf("looking for a free port: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}
