package proxy

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// portTaken says that a node port cannot be had on loopback, and who has it.
func (p *Proxy) portTaken(svc *corev1.Service, port localPort, err error) {
	proto := corev1.ProtocolTCP
	if port.proto == unix.IPPROTO_UDP {
		proto = corev1.ProtocolUDP
	}
	holder := portHolder(port.proto, port.port)
	if holder == "" {
		holder = "a process that cannot be seen from here"
	}
	p.log.Warn("node port is taken on localhost", "port", port.port, "protocol", string(proto), "holder", holder, "error", err)
	if p.deps.Recorder != nil && svc != nil {
		p.deps.Recorder.Eventf(svc, corev1.EventTypeWarning, "PortTaken",
			"node port %d/%s does not answer on the localhost of node %s: %s listens there", port.port, proto, p.deps.NodeName, holder)
	}
}

// portHolder names the process that has a local port, or returns nothing.
func portHolder(proto uint8, port uint16) string {
	name, listening := "tcp", "0A" // TCP_LISTEN, net/tcp_states.h
	if proto == unix.IPPROTO_UDP {
		name, listening = "udp", "07" // an unconnected socket shows as TCP_CLOSE
	}
	inodes := map[string]bool{}
	for _, file := range []string{name, name + "6"} {
		socketInodes("/proc/thread-self/net/"+file, port, listening, inodes)
	}
	if len(inodes) == 0 {
		return ""
	}
	pids, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return ""
	}
	for _, dir := range pids {
		fds, err := os.ReadDir(dir + "/fd")
		if err != nil {
			continue // it ended, or is not ours to see
		}
		for _, fd := range fds {
			to, err := os.Readlink(filepath.Join(dir, "fd", fd.Name()))
			if err != nil || !inodes[to] {
				continue
			}
			comm, err := os.ReadFile(dir + "/comm")
			if err != nil {
				continue
			}
			return fmt.Sprintf("process %q (pid %s)", strings.TrimSpace(string(comm)), filepath.Base(dir))
		}
	}
	return ""
}

// socketInodes reads the kernel's table of sockets (Documentation/networking/proc_net_tcp.rst).
func socketInodes(path string, port uint16, state string, found map[string]bool) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 10 || fields[3] != state {
			continue
		}
		_, hexPort, ok := strings.Cut(fields[1], ":")
		if n, err := strconv.ParseUint(hexPort, 16, 16); ok && err == nil && uint16(n) == port {
			found["socket:["+fields[9]+"]"] = true
		}
	}
}
