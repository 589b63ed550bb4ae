package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Default returns the configuration of the skiff called name before any file,
// variable or flag is read. An empty name means DefaultName.
func Default(name string) Config {
	if name == "" {
		name = DefaultName
	}
	c := Config{
		Name:          name,
		ClusterCIDR:   netip.MustParsePrefix("10.42.0.0/16"),
		ServiceCIDR:   netip.MustParsePrefix("10.43.0.0/16"),
		ClusterDomain: "cluster.local",
		APIPort:       6443,
		KubeletPort:   10250,
		NodePorts:     PortRange{First: 30000, Last: 32767},
		NodeName:      hostName(),
		Snapshotter:   SnapshotterAuto,
		ImageGCHigh:   85,
		ImageGCLow:    80,
		LogMaxSize:    10 << 20, LogMaxFiles: 5,
		MaxPods:     250,
		LogLevel:    "info",
		LogFormat:   "text",
		StopTimeout: 60 * time.Second,
	}
	dir := c.instanceName()
	c.DataDir = filepath.Join("/var/lib", dir)
	c.RunDir = filepath.Join("/run", dir)
	c.Kubeconfig = filepath.Join("/etc", dir, "kubeconfig.yaml")
	c.Registries = filepath.Join("/etc", dir, "registries.yaml")
	c.LogDir = "/var/log/pods"
	if name != DefaultName {
		c.LogDir = filepath.Join("/var/log", dir, "pods")
	}
	return c
}

// File is the configuration file that is read when none is named.
func File(name string) string {
	c := Config{Name: name}
	return filepath.Join("/etc", c.instanceName(), "config.yaml")
}

// hostName is the host's name in the form of a node name (RFC 1123), or
// "skiff" where the host has none.
func hostName() string {
	name, err := os.Hostname()
	name = strings.ToLower(strings.TrimSpace(name))
	if err != nil || name == "" || name == "(none)" {
		return "skiff"
	}
	return name
}

// DNSOf is the tenth address of the services' range, where the cluster's name
// server is unless something else is said.
func DNSOf(services netip.Prefix) netip.Addr {
	a := services.Masked().Addr()
	for range 10 {
		a = a.Next()
	}
	return a
}
