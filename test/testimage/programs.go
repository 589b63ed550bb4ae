package testimage

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
)

// Nginx is Debian's nginx over busybox, with one server on port 80 that
// includes /etc/nginx/conf.d/*.conf and logs to the container's own output.
// Without names it is docker.io/library/nginx:latest.
func Nginx(names ...string) (Image, error) {
	if len(names) == 0 {
		names = []string{"docker.io/library/nginx:latest"}
	}
	img, err := Busybox(names...)
	if err != nil {
		return img, err
	}
	l, err := programs("/usr/sbin/nginx")
	if err != nil {
		return img, fmt.Errorf("packing nginx: %w; apt-get install nginx-light", err)
	}
	mime, err := os.ReadFile("/etc/nginx/mime.types")
	if err != nil {
		return img, fmt.Errorf("packing nginx: %w; apt-get install nginx-light", err)
	}
	l = append(l,
		Dir("etc/nginx", 0o755), Dir("etc/nginx/conf.d", 0o755), File("etc/nginx/mime.types", 0o644, mime),
		File("etc/nginx/nginx.conf", 0o644, []byte(nginxConf)),
		File("etc/nginx/conf.d/default.conf", 0o644, []byte(nginxDefault)),
		Dir("usr/share", 0o755), Dir("usr/share/nginx", 0o755), Dir("usr/share/nginx/html", 0o755),
		File("usr/share/nginx/html/index.html", 0o644, []byte("<h1>Welcome to nginx!</h1>\n")),
		Dir("var/lib", 0o755), Dir("var/lib/nginx", 0o755), Dir("var/log/nginx", 0o755),
		Symlink("var/log/nginx/access.log", "/dev/stdout"), Symlink("var/log/nginx/error.log", "/dev/stderr"),
	)
	img.Layers = append(img.Layers, l)
	img.Config.Cmd = []string{"nginx", "-g", "daemon off;"}
	img.Config.ExposedPorts = map[string]struct{}{"80/tcp": {}}
	img.Config.StopSignal = "SIGQUIT"
	return img, nil
}

const nginxConf = `user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log /dev/stderr notice;
events { worker_connections 256; }
http {
    include mime.types;
    default_type application/octet-stream;
    access_log /dev/stdout;
    include conf.d/*.conf;
}
`

const nginxDefault = `server {
    listen 80 default_server;
    root /usr/share/nginx/html;
}
`

// DNSUtils is Debian's dig, host and nslookup over busybox.
// Without names it is skiff.dev/dnsutils:1.
func DNSUtils(names ...string) (Image, error) {
	if len(names) == 0 {
		names = []string{"skiff.dev/dnsutils:1"}
	}
	img, err := Busybox(names...)
	if err != nil {
		return img, err
	}
	l, err := programs("/usr/bin/dig", "/usr/bin/host", "/usr/bin/nslookup")
	if err != nil {
		return img, fmt.Errorf("packing dnsutils: %w; apt-get install dnsutils", err)
	}
	img.Layers = append(img.Layers, l)
	img.Config.Cmd = []string{"sleep", "infinity"}
	return img, nil
}

func programs(paths ...string) (Layer, error) {
	same := map[string]string{}
	for _, p := range paths {
		same[p] = p
	}
	return Programs(same)
}

// Programs packs dynamically linked programs, by their paths in the image, with
// their interpreter, their libraries, and what the C library loads by itself to
// look up names.
func Programs(paths map[string]string) (Layer, error) {
	c := collector{files: map[string]string{}}
	for dst, src := range paths {
		if err := c.add(dst, src); err != nil {
			return nil, err
		}
	}
	for _, lib := range []string{"libnss_files.so.2", "libnss_dns.so.2"} {
		if err := c.library(lib, nil); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return c.layer()
}

// libraryDirs is where Debian has shared libraries; GLOB for the architecture.
var libraryDirs = []string{"/lib/*-linux-gnu*", "/usr/lib/*-linux-gnu*", "/lib", "/usr/lib", "/usr/local/lib"}

type collector struct {
	// files maps a path in the image to one on this machine.
	files map[string]string
}

func (c *collector) add(dst, src string) error {
	if _, ok := c.files[dst]; ok {
		return nil
	}
	f, err := elf.Open(src)
	if err != nil {
		return fmt.Errorf("reading %s: %w", src, err)
	}
	defer f.Close()
	c.files[dst] = src
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, p.Filesz)
		if _, err := p.ReadAt(name, 0); err != nil {
			return fmt.Errorf("reading %s: %w", src, err)
		}
		interp := strings.TrimRight(string(name), "\x00")
		c.files[interp] = interp
	}
	libs, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("reading %s: %w", src, err)
	}
	runpath, err := f.DynString(elf.DT_RUNPATH)
	if err != nil {
		return fmt.Errorf("reading %s: %w", src, err)
	}
	for _, lib := range libs {
		if err := c.library(lib, runpath); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) library(name string, runpath []string) error {
	for _, pattern := range append(runpath, libraryDirs...) {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, d := range dirs {
			p := filepath.Join(d, name)
			if _, err := os.Stat(p); err == nil {
				return c.add(p, p)
			}
		}
	}
	return fmt.Errorf("library %s: %w", name, fs.ErrNotExist)
}

// layer packs what was collected. On this machine /lib may be a link to
// /usr/lib; in the image it is a directory of its own.
func (c *collector) layer() (Layer, error) {
	dirs := map[string]bool{}
	var names []string
	for dst := range c.files {
		names = append(names, dst)
		for d := path.Dir(dst); d != "/"; d = path.Dir(d) {
			dirs[d] = true
		}
	}
	var l Layer
	for _, d := range sorted(dirs) {
		l = append(l, Dir(strings.TrimPrefix(d, "/"), 0o755))
	}
	sort.Strings(names)
	for _, dst := range names {
		body, err := os.ReadFile(c.files[dst])
		if err != nil {
			return nil, err
		}
		l = append(l, File(strings.TrimPrefix(dst, "/"), 0o755, body))
	}
	return l, nil
}

func sorted(set map[string]bool) []string {
	out := make([]string, 0, len(set))
	for k := range set {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
