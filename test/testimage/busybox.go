package testimage

import (
	"fmt"
	"os"
	"os/exec"
	"sort"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// busyboxPaths is where Debian's busybox-static has its one file.
var busyboxPaths = []string{"/usr/bin/busybox", "/bin/busybox"}

// Busybox is Debian's busybox-static with a link for each of its applets.
// Without names it is docker.io/library/busybox:latest.
func Busybox(names ...string) (Image, error) {
	if len(names) == 0 {
		names = []string{"docker.io/library/busybox:latest"}
	}
	var body []byte
	var path string
	var err error
	for _, path = range busyboxPaths {
		if body, err = os.ReadFile(path); err == nil {
			break
		}
	}
	if err != nil {
		return Image{}, fmt.Errorf("packing busybox: %w; apt-get install busybox-static", err)
	}
	out, err := exec.Command(path, "--list").Output()
	if err != nil {
		return Image{}, fmt.Errorf("listing busybox applets: %w", err)
	}
	applets := strings.Fields(string(out))
	sort.Strings(applets)
	l := skeleton()
	l = append(l, File("bin/busybox", 0o755, body))
	for _, a := range applets {
		if a != "busybox" {
			l = append(l, Hardlink("bin/"+a, "bin/busybox"))
		}
	}
	return Image{
		Names: names, Layers: []Layer{l},
		Config: ocispec.ImageConfig{Env: []string{defaultPath}, Cmd: []string{"sh"}},
	}, nil
}

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// skeleton is what programs expect of a root.
func skeleton() Layer {
	return Layer{
		Dir("bin", 0o755), Dir("dev", 0o755), Dir("etc", 0o755), Dir("home", 0o755), Dir("proc", 0o555), Dir("root", 0o700),
		Dir("run", 0o755), Dir("sys", 0o555), Dir("tmp", 0o1777), Dir("usr", 0o755), Dir("usr/bin", 0o755), Dir("usr/sbin", 0o755), Dir("var", 0o755),
		Dir("var/log", 0o755), Dir("var/tmp", 0o1777),
		File("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n")),
		File("etc/group", 0o644, []byte("root:x:0:\nadm:x:4:\nwww-data:x:33:\nnogroup:x:65534:\n")),
		File("etc/nsswitch.conf", 0o644, []byte("passwd: files\ngroup: files\nhosts: files dns\n")),
	}
}
