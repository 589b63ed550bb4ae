package volumes

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

const hostPathPod = `
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  restartPolicy: Never
  volumes: [{name: v, hostPath: {path: %q, type: %q}}]
  containers: [{name: c, image: "e2e/busybox:1", command: [sh, -c, %q], volumeMounts: [{name: v, mountPath: /v%s}]}]
`

func hostPath(t *testing.T, c *cluster.Cluster) {
	s := c.Space(t, "hostpath")
	dir, made := filepath.Join(c.Dir, "host"), c.Dir
	if err := os.MkdirAll(dir+"/dir", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/file", []byte("content\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", dir+"/socket")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	for name, good := range map[string]struct{ path, kind, command, want string }{
		"any":               {dir, "", "ls /v", "dir\nfile\nsocket\n"},
		"directory":         {dir + "/dir", "Directory", "touch /v/x; ls /v", "x\n"},
		"directory-or-made": {made + "/new/deep", "DirectoryOrCreate", "stat -c '%A %u' /v", "drwxr-xr-x 0\n"},
		"file":              {dir + "/file", "File", "cat /v", "content\n"},
		"file-or-made":      {made + "/newfile", "FileOrCreate", "stat -c '%A %u %s' /v", "-rw-r--r-- 0 0\n"},
		"socket":            {dir + "/socket", "Socket", "test -S /v && echo yes", "yes\n"},
		"char-device":       {"/dev/null", "CharDevice", "test -c /v && echo yes", "yes\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.For(t)
			s.Apply(fmt.Sprintf(hostPathPod, name, good.path, good.kind, good.command, ""))
			if out := s.Succeeded(name); out != good.want {
				t.Errorf("it wrote %q, want %q", out, good.want)
			}
		})
	}
	for name, bad := range map[string]struct{ path, kind, says string }{
		"no-directory":    {dir + "/nothing", "Directory", "hostPath type check failed: " + dir + "/nothing is not a directory"},
		"file-no-dir":     {dir + "/file", "Directory", "is not a directory"},
		"no-file":         {dir + "/dir", "File", "is not a file"},
		"no-socket":       {dir + "/file", "Socket", "is not a socket file"},
		"no-char-device":  {dir + "/file", "CharDevice", "is not a character device"},
		"no-block-device": {"/dev/null", "BlockDevice", "is not a block device"},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.For(t)
			s.Apply(fmt.Sprintf(hostPathPod, name, bad.path, bad.kind, "true", ""))
			s.Event(name, "FailedMount", bad.says)
			s.Kubectl("delete", "pod", name, "--now", "--wait=false")
		})
	}
	t.Run("removed pods leave the host's files", func(t *testing.T) {
		s := s.For(t)
		s.Kubectl("delete", "pod", "any", "--now")
		if data, err := os.ReadFile(dir + "/file"); err != nil || string(data) != "content\n" {
			t.Errorf("the host's file: %q, %v", data, err)
		}
	})
}

// propagation mounts something on the host below a volume while pods run, and
// in a pod below a volume.
func propagation(t *testing.T, c *cluster.Cluster) {
	s := c.Space(t, "propagation")
	dir := filepath.Join(c.Dir, "shared")
	if err := os.MkdirAll(dir+"/below", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir+"/back", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, at := range []string{dir + "/back", dir + "/below", dir} {
			_ = unix.Unmount(at, unix.MNT_DETACH)
		}
	})
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"/below", "/back"} {
		if err := os.Mkdir(dir+sub, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, extra := range map[string]string{
		"private": ", mountPropagation: None", "slave": ", mountPropagation: HostToContainer",
	} {
		s.Apply(fmt.Sprintf(hostPathPod, name, dir, "Directory", "sleep 1000", extra))
	}
	s.Apply(strings.Replace(fmt.Sprintf(hostPathPod, "both", dir, "Directory", "sleep 1000", ", mountPropagation: Bidirectional"),
		"name: c,", "name: c, securityContext: {privileged: true},", 1))
	for _, name := range []string{"private", "slave", "both"} {
		s.Ready(name)
	}
	if err := unix.Mount("tmpfs", dir+"/below", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/below/f", []byte("host"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.Exec("both", "c", "sh", "-c", "mount -t tmpfs t /v/back && echo pod > /v/back/f")
	for name, want := range map[string]string{"private": "", "slave": "below/f back/f", "both": "below/f back/f"} {
		got := strings.Join(strings.Fields(s.Exec(name, "c", "sh", "-c", "cd /v; ls -d below/f back/f 2>/dev/null; true")), " ")
		if got == "back/f below/f" {
			got = "below/f back/f"
		}
		if got != want {
			t.Errorf("%s sees %q, want %q", name, got, want)
		}
	}
	if _, err := os.Stat(dir + "/back/f"); err != nil {
		t.Errorf("the host does not see a bidirectional mount: %v", err)
	}
}
