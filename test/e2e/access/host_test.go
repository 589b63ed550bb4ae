package access

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

// files checks that whoever is not root can enter neither directory, nor read
// the kubeconfig.
func files(t *testing.T, c *cluster.Cluster) {
	for path, want := range map[string]os.FileMode{"data": 0o700, "run": 0o700, "kubeconfig.yaml": 0o600} {
		info, err := os.Stat(filepath.Join(c.Dir, path))
		if err != nil {
			t.Error(err)
		} else if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %#o, want %#o", path, got, want)
		}
	}
	sockets := 0
	err := filepath.WalkDir(c.Dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.Type()&os.ModeSocket == 0 {
			return nil // what a container holds may go away meanwhile
		}
		sockets++
		if info, err := entry.Info(); err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("socket %s has mode %#o", path, info.Mode().Perm())
		}
		return nil
	})
	if err != nil || sockets < 3 {
		t.Errorf("%d sockets, %v; the store, the control and the supervisor have one each", sockets, err)
	}
	for _, dir := range []string{"data/pki", "data/etcd"} {
		secret := filepath.Join(c.Dir, dir)
		_ = filepath.WalkDir(secret, func(path string, entry os.DirEntry, err error) error {
			if err != nil {
				return nil
			}
			if info, err := entry.Info(); err == nil && info.Mode().Perm()&0o077 != 0 && entry.Name() != "ca.crt" {
				t.Errorf("%s has mode %#o", path, info.Mode().Perm())
			}
			return nil
		})
	}
}

// inodes lists the sockets that a process holds.
func inodes(t *testing.T, pid int) []string {
	t.Helper()
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(fds) == 0 {
		t.Fatalf("reading descriptors of %d: %v", pid, err)
	}
	var found []string
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && strings.HasPrefix(target, "socket:[") {
			found = append(found, strings.Trim(strings.TrimPrefix(target, "socket:"), "[]"))
		}
	}
	return found
}

// listening lists the TCP ports, with addresses in the kernel's notation, and
// the unix sockets that the processes listen on.
func listening(t *testing.T, pids ...int) (tcp, local []string) {
	t.Helper()
	var mine []string
	for _, pid := range pids {
		mine = append(mine, inodes(t, pid)...)
	}
	for _, file := range []string{"tcp", "tcp6"} {
		for _, f := range table(t, file) {
			if len(f) > 9 && f[3] == "0A" && slices.Contains(mine, f[9]) {
				tcp = append(tcp, f[1])
			}
		}
	}
	for _, f := range table(t, "unix") {
		if len(f) > 7 && f[3] == "00010000" && slices.Contains(mine, f[6]) {
			local = append(local, f[7])
		}
	}
	return tcp, local
}

func table(t *testing.T, name string) [][]string {
	t.Helper()
	data, err := os.ReadFile("/proc/net/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for line := range strings.Lines(string(data)) {
		rows = append(rows, strings.Fields(line))
	}
	return rows
}

// loopback is 127.0.0.1 in the kernel's notation.
const loopback = "0100007F"

// streams checks that the one port for streams of CRI clients knows nobody
// without a token that the CRI socket gave out.
func streams(t *testing.T, port uint64) {
	t.Helper()
	for _, path := range []string{"/", "/exec/", "/exec/guessed1", "/attach/guessed1", "/portforward/guessed1"} {
		for _, scheme := range []string{"http", "https"} {
			response, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}).Get(fmt.Sprintf("%s://127.0.0.1:%d%s", scheme, port, path))
			if err != nil {
				continue // it speaks the other one
			}
			response.Body.Close()
			if response.StatusCode < 400 {
				t.Errorf("port %d on loopback answers %s to %s", port, response.Status, path)
			}
		}
	}
}

// listeners checks that skiff listens on nothing but the API's, the node's, the
// pods' DNS port and one on loopback for streams, and on no abstract socket, which has no owner and no mode.
func listeners(t *testing.T, c *cluster.Cluster, node string) {
	s := c.Status()
	tcp, local := listening(t, s.Daemon.PID, s.Supervisor.PID)
	_, nodePort, err := net.SplitHostPort(strings.TrimPrefix(node, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	known := []string{strconv.Itoa(c.APIPort), nodePort, "53"}
	for _, address := range tcp {
		host, port, _ := strings.Cut(address, ":")
		number, err := strconv.ParseUint(port, 16, 16)
		if err != nil {
			t.Fatal(err)
		}
		if host == loopback {
			streams(t, number)
			continue
		}
		if !slices.Contains(known, fmt.Sprint(number)) {
			t.Errorf("skiff listens on %s, port %d", address, number)
		}
		if number == 53 && strings.Trim(host, "0") == "" {
			t.Error("DNS answers on every address of the host, not only to pods")
		}
	}
	for _, path := range local {
		if !strings.HasPrefix(path, c.Dir+"/") {
			t.Errorf("skiff listens on socket %q", path)
		}
	}
}

// otherUser tries skiff's sockets and verbs as nobody.
func otherUser(t *testing.T, c *cluster.Cluster) {
	// A copy that nobody may read and run, wherever the tested one lies.
	program := filepath.Join(c.Dir, "program")
	data, err := os.ReadFile(cluster.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(c.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"status", "kubectl", "down", "image", "kubeconfig", "anatomy"} {
		cmd := c.Command(verb)
		cmd.Path = program
		switch verb {
		case "kubectl":
			cmd.Args = append(cmd.Args, "get", "pods")
		case "image":
			cmd.Args = append([]string{cmd.Args[0], "image", "ls"}, cmd.Args[2:]...)
		case "anatomy":
			cmd.Args = append(cmd.Args, "pod/x")
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		if err == nil || strings.Contains(out.String(), "panic") || strings.TrimSpace(out.String()) == "" {
			t.Errorf("skiff %s as nobody: %v\n%s", verb, err, out.String())
		}
		if lines := strings.Count(strings.TrimSpace(out.String()), "\n"); lines > 3 {
			t.Errorf("skiff %s as nobody says too much:\n%s", verb, out.String())
		}
	}
	// Even with the directory open, the sockets themselves are closed.
	if err := os.Chmod(filepath.Join(c.Dir, "run"), 0o711); err != nil {
		t.Fatal(err)
	}
	for _, socket := range []string{"etcd.sock", "skiff.sock", "supervisor.sock"} {
		if err := connectAsNobody(filepath.Join(c.Dir, "run", socket)); !errors.Is(err, unix.EACCES) {
			t.Errorf("%s as nobody: %v", socket, err)
		}
	}
	if err := os.Chmod(filepath.Join(c.Dir, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// connectAsNobody connects with nobody's rights to files: a thread that leaves
// file system uid 0 also loses the capabilities to override modes
// (capabilities(7), "Effect of user ID changes").
func connectAsNobody(path string) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Setfsuid(65534); err != nil {
			result <- err
			return
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			result <- err
			return
		}
		defer unix.Close(fd)
		result <- unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}()
	return <-result
}

const intruder = `
apiVersion: v1
kind: Pod
metadata: {name: intruder}
spec:
  containers:
  - {name: main, image: access/busybox:1, command: [sleep, "1000"]}
`

// fromPod looks around from inside a pod without host namespaces.
func fromPod(t *testing.T, c *cluster.Cluster, api string) {
	c.Apply(intruder)
	c.WaitFor("condition=Ready", "pod/intruder")
	run := func(script string) string { return c.Kubectl("exec", "intruder", "--", "sh", "-c", script) }
	if out := run("grep -v Num /proc/net/unix || true"); strings.TrimSpace(out) != "" {
		t.Errorf("the pod sees unix sockets: %s", out)
	}
	if out := run("ls -A /sys/fs/cgroup >/dev/null; cat /proc/mounts"); strings.Contains(out, c.Dir+"/data/etcd") || strings.Contains(out, c.Dir+"/run") {
		t.Errorf("the pod's mounts show skiff's directories:\n%s", out)
	}
	if out := run("id -u; grep -E 'Cap(Inh|Amb)|NoNewPrivs|Seccomp:' /proc/self/status"); !strings.Contains(out, "Seccomp:\t2") || strings.Count(out, "0000000000000000") != 2 {
		t.Errorf("the container runs with %s", out)
	}
	if out := run("ls /proc/self/fd"); len(strings.Fields(out)) > 4 {
		t.Errorf("descriptors leak into the container: %s", out)
	}
	token := run("cat /var/run/secrets/kubernetes.io/serviceaccount/token")
	who := caller{token: token}
	who.expect(t, "the pod's token", api, map[string]int{"/version": 200, "/api": 200, "/api/v1/namespaces/default/pods": 403, "/api/v1/namespaces/default/secrets": 403})
	// The token is bound to the pod: it ends with it.
	c.Kubectl("delete", "pod", "intruder", "--now")
	cluster.Until(t, func() error {
		if got := who.get(t, api+"/api"); got != http.StatusUnauthorized {
			return fmt.Errorf("the token of a pod that is gone is answered %d", got)
		}
		return nil
	})
}
