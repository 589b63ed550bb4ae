package images

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// root is a list of layers that images share, and the packages in them.
type root struct {
	layers   []descriptor
	packages []string
}

// add is the root with one more layer.
func (r root) add(l *layout, t tree) (root, error) {
	data, err := t.pack()
	if err != nil {
		return r, err
	}
	d, err := l.blob(typeLayer, data)
	return root{append(slices.Clone(r.layers), d), r.packages}, err
}

// install is the root with one more layer, of packages and what they depend on;
// more adds to them.
func (r root) install(ctx context.Context, b *builder, more func(tree), packages ...string) (root, error) {
	closure, err := b.debian.closure(ctx, packages...)
	if err != nil {
		return r, err
	}
	missing := slices.DeleteFunc(closure, func(p string) bool { return slices.Contains(r.packages, p) })
	t := tree{}
	if err := b.debian.unpack(ctx, t, missing); err != nil {
		return r, err
	}
	if more != nil {
		more(t)
	}
	out, err := r.add(b.layout, t)
	out.packages = append(slices.Clone(r.packages), missing...)
	return out, err
}

// busybox is Debian's busybox, which runs programs from their files, with a
// link for each of its applets. Its shell drops variables whose names are not a
// shell's, which that of the suite's image passes on, as bash does: bash is what
// the path finds as sh. /bin/sh is busybox, whose words tests compare.
func (b *builder) busybox(ctx context.Context) (root, error) {
	archive, err := b.debian.archive(ctx, "busybox")
	if err != nil {
		return root{}, err
	}
	dir, err := os.MkdirTemp(b.debian.dir, "busybox-")
	if err != nil {
		return root{}, err
	}
	defer os.RemoveAll(dir)
	if _, err := run(ctx, dir, "dpkg-deb", "--extract", archive, dir); err != nil {
		return root{}, err
	}
	applets, err := exec.CommandContext(ctx, filepath.Join(dir, "bin/busybox"), "--list").Output()
	if err != nil {
		return root{}, fmt.Errorf("listing the applets of busybox: %w", err)
	}
	return root{}.install(ctx, b, func(t tree) { skeleton(t, strings.Fields(string(applets))) }, "busybox", "libc-bin", "bash")
}

// skeleton is what programs expect of a root.
func skeleton(t tree, applets []string) {
	for _, d := range []string{"dev", "etc", "home", "mnt", "opt", "run", "srv", "usr/local/bin", "var/log", "var/lib", "var/cache"} {
		t.dir(d, 0o755)
	}
	t.dir("proc", 0o555)
	t.dir("sys", 0o555)
	t.dir("root", 0o700)
	t.dir("tmp", 0o1777)
	t.dir("var/tmp", 0o1777)
	for old, now := range merged {
		t.dir(now, 0o755)
		t.link(old, now)
	}
	t.link("var/run", "/run")
	for _, a := range applets {
		if _, ok := t["usr/bin/"+a]; !ok {
			t.link("usr/bin/"+a, "busybox")
		}
	}
	t.link("usr/local/bin/sh", "/usr/bin/bash")
	accounts(t, "", "")
	t.file("etc/nsswitch.conf", 0o644, []byte("passwd: files\ngroup: files\nhosts: files dns\n"))
}

// accounts writes passwd and group, with more lines.
func accounts(t tree, users, groups string) {
	t.file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nbin:x:2:2:bin:/bin:/bin/false\n"+
		"mail:x:8:8:mail:/var/spool/mail:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n"+users))
	t.file("etc/group", 0o644, []byte("root:x:0:\ndaemon:x:1:\nbin:x:2:\nadm:x:4:\nmail:x:8:\nwww-data:x:33:\nusers:x:100:\nnogroup:x:65534:\n"+groups))
}
