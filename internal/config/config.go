// Package config holds the one configuration of a skiff: its defaults, the
// configuration file, the environment and the flags, read once at start,
// validated, and passed down. No other package reads a flag or an environment
// variable.
package config

import (
	"net/netip"
	"path/filepath"
	"time"
)

// DefaultName is the name of the skiff that is meant when none is given.
const DefaultName = "skiff"

// How a container gets its root file system: as an overlay over its image's
// layers, as a copy of its image, or as an overlay where that works.
const (
	SnapshotterAuto    = "auto"
	SnapshotterOverlay = "overlayfs"
	SnapshotterNative  = "native"
)

// Config is the whole configuration. The zero value is not usable; see Default.
// The yaml keys are the names of the flags.
type Config struct {
	// Name tells several skiffs on one machine apart. Directories, the bridge,
	// the nftables table and the cgroup subtree carry it.
	Name string `json:"name"`

	// DataDir holds what must survive a reboot, RunDir what must not, LogDir
	// the containers' logs (NAMESPACE_POD_UID/CONTAINER/N.log).
	DataDir    string `json:"data-dir"`
	RunDir     string `json:"run-dir"`
	LogDir     string `json:"log-dir"`
	Kubeconfig string `json:"kubeconfig"`

	ClusterCIDR   netip.Prefix `json:"cluster-cidr"`
	ServiceCIDR   netip.Prefix `json:"service-cidr"`
	ClusterDNS    netip.Addr   `json:"cluster-dns"`
	ClusterDomain string       `json:"cluster-domain"`

	// APIPort and KubeletPort are TCP ports of the host.
	APIPort     int `json:"api-port"`
	KubeletPort int `json:"kubelet-port"`
	// NodePorts is the range of node ports, both ends included.
	NodePorts PortRange `json:"service-node-port-range"`

	// NodeName is the node's name, by default the host's name in lower case.
	NodeName string `json:"node-name"`
	// NodeIP is the node's address; by default the source address of the
	// default route.
	NodeIP netip.Addr `json:"node-ip"`

	// ImageGCHigh is the percentage of the images' file system in use from
	// which unused images are removed, until ImageGCLow is reached. 100: never.
	ImageGCHigh int `json:"image-gc-high-threshold"`
	ImageGCLow  int `json:"image-gc-low-threshold"`

	// Snapshotter is how a container gets its root; see the constants.
	Snapshotter string `json:"snapshotter"`

	// Registries is the file with mirrors, TLS settings and passwords of
	// registries. It need not exist, and is read at each pull.
	Registries string `json:"registries"`
	// NoDefaultEndpoint leaves a registry that has mirrors to these alone.
	NoDefaultEndpoint bool `json:"disable-default-registry-endpoint"`

	// RuntimeHandlers are programs of OCI runtimes by the handler that a
	// RuntimeClass names.
	RuntimeHandlers map[string]string `json:"runtime-handlers"`

	// LogMaxSize in bytes starts a new file of a container's log; LogMaxFiles
	// are kept, the current one included.
	LogMaxSize  int64 `json:"container-log-max-size"`
	LogMaxFiles int   `json:"container-log-max-files"`

	// MaxPods bounds the pods on this node.
	MaxPods int `json:"max-pods"`

	LogLevel  string `json:"log-level"`
	LogFormat string `json:"log-format"`

	// StopTimeout bounds the graceful stop of the daemon.
	StopTimeout time.Duration `json:"stop-timeout"`
}

// PortRange is a range of ports, both ends included.
type PortRange struct {
	First, Last int
}

// Derived paths and names. They follow from Name, DataDir and RunDir, so that
// two skiffs with different names share nothing on the host.

// BridgeName is the Linux bridge of the pods; at most 15 bytes (IFNAMSIZ).
func (c *Config) BridgeName() string { return instance("skiff0", "sk-", c.Name, 15) }

// LinkPrefix starts the name of every host-side veth of this skiff.
func (c *Config) LinkPrefix() string { return "sk" + shortHash(c.Name)[:3] }

// TableName is the one nftables table (family inet) of this skiff.
func (c *Config) TableName() string { return c.instanceName() }

// CgroupParent is this skiff's cgroup subtree, relative to the hierarchy's root.
func (c *Config) CgroupParent() string { return "/" + c.instanceName() }

// SupervisorSocket is where the supervisor of the containers listens.
func (c *Config) SupervisorSocket() string { return filepath.Join(c.RunDir, "supervisor.sock") }

// CRISocket is where the container runtime interface is served.
func (c *Config) CRISocket() string { return filepath.Join(c.RunDir, "cri.sock") }

// ControlSocket is where the daemon answers `skiff status` and `skiff down`.
func (c *Config) ControlSocket() string { return filepath.Join(c.RunDir, "skiff.sock") }

// EtcdSocket is where the embedded etcd listens.
func (c *Config) EtcdSocket() string { return filepath.Join(c.RunDir, "etcd.sock") }

// EtcdDir holds the embedded etcd's data.
func (c *Config) EtcdDir() string { return filepath.Join(c.DataDir, "etcd") }

// PKIDir holds the cluster's keys and certificates.
func (c *Config) PKIDir() string { return filepath.Join(c.DataDir, "pki") }

// ImageDir holds images and their unpacked layers.
func (c *Config) ImageDir() string { return filepath.Join(c.DataDir, "images") }

// ArchiveDir is where archives of images are dropped to be imported.
func (c *Config) ArchiveDir() string { return filepath.Join(c.DataDir, "archives") }

// CertsDir is containerd's form of the same, certs.d beside Registries.
func (c *Config) CertsDir() string { return filepath.Join(filepath.Dir(c.Registries), "certs.d") }

// ProvidersFile is the kubelet's CredentialProviderConfig, ProvidersDir holds the programs that it names.
func (c *Config) ProvidersFile() string {
	return filepath.Join(filepath.Dir(c.Registries), "credential-providers.yaml")
}

// ProvidersDir is where a credential provider is looked for by its name.
func (c *Config) ProvidersDir() string {
	return filepath.Join(filepath.Dir(c.Registries), "credential-providers")
}

// AuthFiles are the node's own files with credentials for registries, strongest
// first. They may name programs that know them.
func (c *Config) AuthFiles() []string {
	return []string{filepath.Join(filepath.Dir(c.Registries), "auth.json"), filepath.Join(c.KubeletDir(), "config.json")}
}

// LoginFiles are what podman login and docker login leave for root.
func (c *Config) LoginFiles() []string {
	return []string{"/run/containers/0/auth.json", "/root/.config/containers/auth.json", "/root/.docker/config.json"}
}

// ContainerDir holds the state and the writable layers of sandboxes and containers.
func (c *Config) ContainerDir() string { return filepath.Join(c.DataDir, "containers") }

// KubeletDir holds the pods' volumes and the node agent's state.
func (c *Config) KubeletDir() string { return filepath.Join(c.DataDir, "kubelet") }

// NetworkDir holds the pods' addresses.
func (c *Config) NetworkDir() string { return filepath.Join(c.DataDir, "network") }

// instanceName is "skiff" for the default name and "skiff-NAME" for others.
func (c *Config) instanceName() string { return instance("skiff", "skiff-", c.Name, 64) }

// instance returns def for the default name, else prefix plus name, shortened
// with a hash where it would pass limit bytes.
func instance(def, prefix, name string, limit int) string {
	if name == DefaultName {
		return def
	}
	full := prefix + name
	if len(full) <= limit {
		return full
	}
	return full[:limit-6] + shortHash(name)[:6]
}
