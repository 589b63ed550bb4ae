package images

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

func agnhostConfig(verb string) Config {
	c := Config{Entrypoint: []string{"/agnhost"}, Cmd: []string{verb}, ExposedPorts: map[string]struct{}{}}
	for _, port := range []string{"80", "8080", "8081", "9376", "5000"} {
		c.ExposedPorts[port+"/tcp"] = struct{}{}
	}
	return c
}

// agnhost is what its Dockerfile says: the program, twice, the tools beside it,
// the certificate of porter, a user with a group of its own, and the directory
// of its registry.
func (b *builder) agnhost(ctx context.Context, base root) (root, error) {
	tools, err := base.install(ctx, b, func(t tree) {
		accounts(t, "user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n",
			"user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n")
		t.dir("uploads", 0o755)
		t.link("usr/local/bin/iperf", "/usr/bin/iperf")
		// The suite's stands on Alpine, and a test asks that file.
		t.file("etc/os-release", 0o644, []byte("NAME=\"Alpine Linux\"\nID=alpine\nPRETTY_NAME=\"Alpine Linux, made of Debian's packages\"\n"))
		// What update-alternatives would do.
		t.link("usr/bin/nc", "nc.openbsd")
	}, "bind9-dnsutils", "curl", "netcat-openbsd", "iproute2", "iperf", "bash", "util-linux", "bsdextrautils")
	if err != nil {
		return root{}, err
	}
	body, err := b.goProgram(ctx, testImages+"agnhost")
	if err != nil {
		return root{}, err
	}
	t := tree{}
	t.file("agnhost", 0o755, body)
	t.link("agnhost-2", "agnhost")
	for _, f := range []string{"localhost.crt", "localhost.key"} {
		data, err := b.suiteFile("agnhost/porter/" + f)
		if err != nil {
			return root{}, err
		}
		t.file(f, 0o644, data)
	}
	if err := b.registry(ctx, t); err != nil {
		return root{}, err
	}
	return tools.add(b.layout, t)
}

// registry fills the directory of agnhost's registry as prepare_registry.sh of
// its sources does: each image of images.txt with a list of one platform.
func (b *builder) registry(ctx context.Context, t tree) error {
	list, err := b.suiteFile("agnhost/fakeregistryserver/images.txt")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(list)) {
		f := strings.Fields(line)
		if len(f) != 3 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if f[0] != "pause" {
			return fmt.Errorf("agnhost's registry is to have %s, which has no recipe", f[0])
		}
		root, config, err := makePause(ctx, b, roots{})
		if err != nil {
			return err
		}
		config.Env = []string{searchPath}
		d, err := b.layout.image(root.layers, config)
		if err != nil {
			return err
		}
		d.Platform = &platform{OS: "linux", Arch: runtime.GOARCH}
		top, err := b.layout.json(typeIndex, index{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{d}})
		if err != nil {
			return err
		}
		if err := b.serve(t, "var/registry/"+f[0], f[2], top, d); err != nil {
			return err
		}
	}
	return nil
}

// serve puts an image into the directory of a registry.
func (b *builder) serve(t tree, dir, tag string, top, image descriptor) error {
	put := func(kind, digest string) ([]byte, error) {
		sum := strings.TrimPrefix(digest, "sha256:")
		data, err := os.ReadFile(filepath.Join(b.layout.dir, "blobs", "sha256", sum))
		t.file(dir+"/"+kind+"/sha256/"+sum[:2]+"/"+sum+"/data", 0o644, data)
		return data, err
	}
	t.file(dir+"/manifests/"+tag, 0o644, []byte(top.Digest+"\n"))
	if _, err := put("manifests", top.Digest); err != nil {
		return err
	}
	data, err := put("manifests", image.Digest)
	if err != nil {
		return err
	}
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	for _, d := range append([]descriptor{m.Config}, m.Layers...) {
		if _, err := put("blobs", d.Digest); err != nil {
			return err
		}
	}
	return nil
}

// makePause is skiff's pause, as an image.
func makePause(_ context.Context, b *builder, _ roots) (root, Config, error) {
	body, err := os.ReadFile(b.Pause)
	if err != nil {
		return root{}, Config{}, err
	}
	t := tree{}
	t.file("pause", 0o755, body)
	out, err := root{}.add(b.layout, t)
	return out, Config{Entrypoint: []string{"/pause"}, User: "65535:65535"}, err
}
