package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Option is one setting: a flag --NAME, an environment variable SKIFF_NAME and
// a key NAME of the configuration file, all with the same text form.
type Option struct {
	Name  string
	Usage string
	// Place marks the options that say which skiff is meant; every verb has them.
	Place bool
	Set   func(c *Config, text string) error
	Get   func(c *Config) string
}

// Variable is the option's environment variable.
func (o Option) Variable() string {
	return "SKIFF_" + strings.ToUpper(strings.ReplaceAll(o.Name, "-", "_"))
}

// Options lists every setting but the name and the file itself, which have to
// be known before the rest can be read.
func Options() []Option {
	return []Option{
		path("data-dir", "directory of what must survive a reboot", true, func(c *Config) *string { return &c.DataDir }),
		path("run-dir", "directory of sockets and other things of this boot", true, func(c *Config) *string { return &c.RunDir }),
		path("log-dir", "directory of the containers' logs", false, func(c *Config) *string { return &c.LogDir }),
		path("kubeconfig", "where the administrator's kubeconfig is written", true, func(c *Config) *string { return &c.Kubeconfig }),
		prefix("cluster-cidr", "addresses of the pods", func(c *Config) *netip.Prefix { return &c.ClusterCIDR }),
		prefix("service-cidr", "addresses of the services", func(c *Config) *netip.Prefix { return &c.ServiceCIDR }),
		address("cluster-dns", "address of the cluster's name server (default: the tenth of service-cidr)", func(c *Config) *netip.Addr { return &c.ClusterDNS }),
		text("cluster-domain", "domain of the cluster's names", func(c *Config) *string { return &c.ClusterDomain }),
		port("api-port", "TCP port of the API server", func(c *Config) *int { return &c.APIPort }),
		port("kubelet-port", "TCP port of the node agent", func(c *Config) *int { return &c.KubeletPort }),
		{
			Name: "service-node-port-range", Usage: "ports for services of type NodePort, as FIRST-LAST",
			Set: func(c *Config, s string) error { return c.NodePorts.parse(s) },
			Get: func(c *Config) string { return fmt.Sprintf("%d-%d", c.NodePorts.First, c.NodePorts.Last) },
		},
		text("node-name", "name of this node (default: the host's name)", func(c *Config) *string { return &c.NodeName }),
		address("node-ip", "address of this node (default: source address of the default route)", func(c *Config) *netip.Addr { return &c.NodeIP }),
		number("image-gc-high-threshold", "percent of the images' file system in use from which unused images are removed; 100: never", 1, 100, func(c *Config) *int { return &c.ImageGCHigh }),
		number("image-gc-low-threshold", "percent in use at which that ends", 0, 99, func(c *Config) *int { return &c.ImageGCLow }),
		choice("snapshotter", "how a container gets its root: overlayfs; native, a copy of its image; or auto, overlayfs where the file system of data-dir can",
			[]string{SnapshotterAuto, SnapshotterOverlay, SnapshotterNative}, func(c *Config) *string { return &c.Snapshotter }),
		path("registries", "file with mirrors, TLS settings and passwords of registries; certs.d and auth.json lie beside it", false, func(c *Config) *string { return &c.Registries }),
		boolean("disable-default-registry-endpoint", "true: pull from a registry that has mirrors only through these", func(c *Config) *bool { return &c.NoDefaultEndpoint }),
		{
			Name: "runtime-handlers", Usage: "OCI runtimes for RuntimeClasses, as HANDLER=PROGRAM,...",
			Set: func(c *Config, s string) (err error) { c.RuntimeHandlers, err = parseHandlers(s); return err },
			Get: func(c *Config) string { return writeHandlers(c.RuntimeHandlers) },
		},
		{
			Name: "container-log-max-size", Usage: "size at which a container's log starts a new file, such as 10Mi",
			Set: func(c *Config, s string) (err error) { c.LogMaxSize, err = parseSize(s); return err },
			Get: func(c *Config) string { return writeSize(c.LogMaxSize) },
		},
		number("container-log-max-files", "how many files of a container's log are kept", 2, 1000, func(c *Config) *int { return &c.LogMaxFiles }),
		number("max-pods", "how many pods this node takes", 1, 4096, func(c *Config) *int { return &c.MaxPods }),
		choice("log-level", "debug, info, warn or error", []string{"debug", "info", "warn", "error"}, func(c *Config) *string { return &c.LogLevel }),
		choice("log-format", "text or json", []string{"text", "json"}, func(c *Config) *string { return &c.LogFormat }),
		{
			Name: "stop-timeout", Usage: "how long a graceful stop may take",
			Set: func(c *Config, s string) error {
				d, err := time.ParseDuration(s)
				if err != nil || d <= 0 {
					return fmt.Errorf("%q is no duration above zero, such as 60s", s)
				}
				c.StopTimeout = d
				return nil
			},
			Get: func(c *Config) string { return c.StopTimeout.String() },
		},
	}
}

func text(name, usage string, at func(*Config) *string) Option {
	return Option{
		Name: name, Usage: usage,
		Set: func(c *Config, s string) error { *at(c) = s; return nil },
		Get: func(c *Config) string { return *at(c) },
	}
}

func path(name, usage string, place bool, at func(*Config) *string) Option {
	return Option{
		Name: name, Usage: usage, Place: place,
		Set: func(c *Config, s string) error {
			abs, err := filepath.Abs(s)
			if err != nil || s == "" {
				return fmt.Errorf("%q is no path", s)
			}
			*at(c) = abs
			return nil
		},
		Get: func(c *Config) string { return *at(c) },
	}
}

func boolean(name, usage string, at func(*Config) *bool) Option {
	return Option{
		Name: name, Usage: usage,
		Set: func(c *Config, s string) error {
			if s != "true" && s != "false" {
				return fmt.Errorf("%q is neither true nor false", s)
			}
			*at(c) = s == "true"
			return nil
		},
		Get: func(c *Config) string { return strconv.FormatBool(*at(c)) },
	}
}

func choice(name, usage string, allowed []string, at func(*Config) *string) Option {
	return Option{
		Name: name, Usage: usage,
		Set: func(c *Config, s string) error {
			if !slices.Contains(allowed, s) {
				return fmt.Errorf("%q is none of %s", s, strings.Join(allowed, ", "))
			}
			*at(c) = s
			return nil
		},
		Get: func(c *Config) string { return *at(c) },
	}
}

func prefix(name, usage string, at func(*Config) *netip.Prefix) Option {
	return Option{
		Name: name, Usage: usage,
		Set: func(c *Config, s string) error {
			p, err := netip.ParsePrefix(s)
			if err != nil {
				return fmt.Errorf("%q is no range of addresses such as 10.42.0.0/16", s)
			}
			if p != p.Masked() {
				return fmt.Errorf("%q has bits set behind its mask; did you mean %s?", s, p.Masked())
			}
			*at(c) = p
			return nil
		},
		Get: func(c *Config) string { return at(c).String() },
	}
}

func address(name, usage string, at func(*Config) *netip.Addr) Option {
	return Option{
		Name: name, Usage: usage,
		Set: func(c *Config, s string) error {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return fmt.Errorf("%q is no IP address", s)
			}
			*at(c) = a
			return nil
		},
		Get: func(c *Config) string {
			if !at(c).IsValid() {
				return ""
			}
			return at(c).String()
		},
	}
}

func port(name, usage string, at func(*Config) *int) Option {
	return number(name, usage, 1, 65535, at)
}

func number(name, usage string, low, high int, at func(*Config) *int) Option {
	return Option{
		Name: name, Usage: usage,
		Set: func(c *Config, s string) error {
			n, err := strconv.Atoi(s)
			if err != nil || n < low || n > high {
				return fmt.Errorf("%q is no whole number from %d to %d", s, low, high)
			}
			*at(c) = n
			return nil
		},
		Get: func(c *Config) string { return strconv.Itoa(*at(c)) },
	}
}

func (r *PortRange) parse(s string) error {
	first, last, ok := strings.Cut(s, "-")
	a, errA := strconv.Atoi(strings.TrimSpace(first))
	b, errB := strconv.Atoi(strings.TrimSpace(last))
	if !ok || errA != nil || errB != nil || a < 1 || b > 65535 || a > b {
		return fmt.Errorf("%q is no range of ports such as 30000-32767", s)
	}
	*r = PortRange{First: a, Last: b}
	return nil
}
