package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadOrderOfPrecedence(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	write(t, file, "api-port: 7001\nkubelet-port: 7002\nnode-name: from-file\nlog-level: debug\n")
	write(t, filepath.Join(dir, "config.yaml.d", "20-later.yaml"), "kubelet-port: 7004\n")
	write(t, filepath.Join(dir, "config.yaml.d", "10-first.yaml"), "kubelet-port: 7003\n")
	c, given, err := Load(Source{
		File:    file,
		Environ: []string{"SKIFF_NODE_NAME=from-env", "SKIFF_LOG_LEVEL=warn", "SKIFF_MAX_PODS="},
		Flags:   map[string]string{"log-level": "error", "service-cidr": "10.77.0.0/16"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]any{
		"file":          {c.APIPort, 7001},
		"later drop-in": {c.KubeletPort, 7004},
		"environment":   {c.NodeName, "from-env"},
		"flag":          {c.LogLevel, "error"},
		"derived dns":   {c.ClusterDNS.String(), "10.77.0.10"},
		"given":         {given["api-port"], true},
		"not given":     {given["max-pods"], false},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: got %v, want %v", what, pair[0], pair[1])
		}
	}
}

func TestLoadNamesFileLineAndField(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"not yaml":      {"api-port: 1\n\tbad", "line 2"},
		"unknown field": {"api-port: 6443\napi-prot: 1", `line 2: field "api-prot" is not known; the fields are data-dir`},
		"wrong value":   {"\nmax-pods: many", `line 2: field "max-pods": "many" is no whole number from 1 to 4096`},
		"list":          {"node-name: [a]", `line 1: field "node-name" must be one value`},
		"no map":        {"- a", "line 1: the file must hold keys and values"},
		"host bits":     {"cluster-cidr: 10.42.0.1/16", "did you mean 10.42.0.0/16?"},
		"yes":           {"disable-default-registry-endpoint: yes", `line 1: field "disable-default-registry-endpoint": "yes" is neither true nor false`},
		"thresholds":    {"image-gc-low-threshold: 85", "image-gc-low-threshold 85 must be below image-gc-high-threshold 85"},
		"long":          {"run-dir: /" + strings.Repeat("x", 91), "is 1 bytes too long: the socket supervisor.sock in it has an address of at most 107"},
		"overlap":       {"cluster-cidr: 10.43.0.0/17", "cluster-cidr 10.43.0.0/17 and service-cidr 10.43.0.0/16 overlap"},
		"ports":         {"api-port: 10250", "api-port and kubelet-port are both 10250"},
		"port range":    {"service-node-port-range: 9-3", "no range of ports"},
		"ipv6":          {"cluster-cidr: fd00::/64", "only IPv4 ranges"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config.yaml")
			write(t, file, c.file)
			_, _, err := Load(Source{File: file})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestLoadRefusesWhatIsMissing(t *testing.T) {
	_, _, err := Load(Source{File: filepath.Join(t.TempDir(), "none.yaml")})
	if err == nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("a named file that is missing: %v", err)
	}
	if _, _, err := Load(Source{Name: "Not_A_Name"}); err == nil || !strings.Contains(err.Error(), "--name") {
		t.Errorf("a wrong name: %v", err)
	}
}

func TestTwoNamesShareNothing(t *testing.T) {
	a, b := Default("skiff"), Default("a-rather-long-name-of-a-second-one")
	for what, f := range map[string]func(*Config) string{
		"bridge": (*Config).BridgeName, "links": (*Config).LinkPrefix, "table": (*Config).TableName,
		"cgroup": (*Config).CgroupParent, "supervisor": (*Config).SupervisorSocket, "cri": (*Config).CRISocket,
		"control": (*Config).ControlSocket, "etcd": (*Config).EtcdDir, "images": (*Config).ImageDir,
		"kubeconfig": func(c *Config) string { return c.Kubeconfig }, "logs": func(c *Config) string { return c.LogDir },
		"registries": func(c *Config) string { return c.Registries }, "certs.d": (*Config).CertsDir,
	} {
		if f(&a) == f(&b) {
			t.Errorf("%s is %q for both", what, f(&a))
		}
	}
	if n := len(b.BridgeName()); n > 15 {
		t.Errorf("bridge name %q has %d bytes", b.BridgeName(), n)
	}
}

func write(t *testing.T, file, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}
