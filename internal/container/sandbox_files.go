package container

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/kernel/mount"
)

// shmSize is the size of a sandbox's /dev/shm, as containerd and CRI-O have it.
const shmSize = "size=67108864"

// writeSandboxFiles writes resolv.conf and hostname, which containers see as mounts.
func (s *Service) writeSandboxFiles(rec *sandboxRecord) error {
	dir := s.sandboxDir(rec.ID)
	resolv, err := resolvConf(rec.Config.GetDnsConfig())
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "resolv.conf"), resolv, 0o644); err != nil {
		return fmt.Errorf("writing resolv.conf: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "hostname"), []byte(hostname(rec.Config)+"\n"), 0o644); err != nil {
		return fmt.Errorf("writing hostname: %w", err)
	}
	return nil
}

// writeHosts writes the hosts file of containers that bring none.
func (s *Service) writeHosts(rec *sandboxRecord) error {
	var hosts []byte
	if usesNode(netMode(rec.Config)) {
		data, err := os.ReadFile("/etc/hosts")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("reading the node's hosts file: %w", err)
		}
		hosts = data
	} else {
		hosts = []byte("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
		for _, ip := range rec.IPs {
			hosts = fmt.Appendf(hosts, "%s\t%s\n", ip, hostname(rec.Config))
		}
	}
	if err := os.WriteFile(filepath.Join(s.sandboxDir(rec.ID), "hosts"), hosts, 0o644); err != nil {
		return fmt.Errorf("writing hosts: %w", err)
	}
	return nil
}

func hostname(config *runtimeapi.PodSandboxConfig) string {
	if name := config.GetHostname(); name != "" {
		return name
	}
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

// resolvConf is the file for the DNS configuration; without one the node's own.
func resolvConf(dns *runtimeapi.DNSConfig) ([]byte, error) {
	if dns == nil || len(dns.GetServers())+len(dns.GetSearches())+len(dns.GetOptions()) == 0 {
		f, err := os.Open("/etc/resolv.conf")
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the node's resolv.conf: %w", err)
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, 1<<20))
	}
	var b strings.Builder
	if len(dns.GetSearches()) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(dns.GetSearches(), " "))
	}
	for _, server := range dns.GetServers() {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(dns.GetOptions()) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(dns.GetOptions(), " "))
	}
	for _, text := range [][]string{dns.GetSearches(), dns.GetServers(), dns.GetOptions()} {
		for _, word := range text {
			if strings.ContainsAny(word, "\n\r\x00") {
				return nil, invalid("DNS configuration %q contains a line break", word)
			}
		}
	}
	return []byte(b.String()), nil
}

// mountShm makes the memory that the sandbox's containers share.
func (s *Service) mountShm(id string) error {
	dir := filepath.Join(s.sandboxRun(id), "shm")
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("making the sandbox's shm: %w", err)
	}
	fd, err := mount.FS("tmpfs", "shm", []string{"mode=1777", shmSize}, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return fmt.Errorf("making the sandbox's shm: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mounting the sandbox's shm: move_mount: %w", err)
	}
	return nil
}

// unmountShm removes it; a sandbox without is no error.
func (s *Service) unmountShm(id string) {
	dir := filepath.Join(s.sandboxRun(id), "shm")
	if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		s.log.Warn("shm not unmounted", "sandbox", id, "err", err)
		return
	}
	_ = os.Remove(dir)
	_ = os.Remove(s.sandboxRun(id))
}

// sysctlName is a name as sysctl(8) and Kubernetes write it. Values hold no
// control characters: CVE-2022-0811 smuggled settings through one.
var sysctlName = regexp.MustCompile(`^[a-z0-9]([-_a-z0-9]*[a-z0-9])?([./][a-z0-9]([-_a-z0-9]*[a-z0-9])?)+$`)

// checkSysctl allows only settings of a namespace that the sandbox owns.
func checkSysctl(key, value string, options *runtimeapi.NamespaceOption) error {
	if !sysctlName.MatchString(key) {
		return fmt.Errorf("sysctl %q is no valid name", key)
	}
	for _, r := range value {
		if r < ' ' || r == 0x7f || r == '+' {
			return fmt.Errorf("sysctl %q: value %q contains a character that is not allowed", key, value)
		}
	}
	dotted := strings.ReplaceAll(key, "/", ".")
	switch {
	case strings.HasPrefix(dotted, "net."):
		if options.GetNetwork() == runtimeapi.NamespaceMode_NODE {
			return fmt.Errorf("sysctl %q is not allowed with the node's network namespace", key)
		}
		return nil
	case strings.HasPrefix(dotted, "fs.mqueue."), strings.HasPrefix(dotted, "kernel.msg"), strings.HasPrefix(dotted, "kernel.sem"), strings.HasPrefix(dotted, "kernel.shm"):
		if options.GetIpc() == runtimeapi.NamespaceMode_NODE {
			return fmt.Errorf("sysctl %q is not allowed with the node's IPC namespace", key)
		}
		return nil
	}
	return fmt.Errorf("sysctl %q belongs to no namespace of a pod", key)
}
