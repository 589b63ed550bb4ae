// Package images makes the images that the upstream suite asks for, under the
// names that it asks for, as one OCI layout: of Debian's packages, of programs
// of k8s.io/kubernetes and other modules, and of skiff's own pause.
package images

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	upstream "k8s.io/kubernetes/test/utils/image"
)

// Paths is where things are.
type Paths struct {
	// Cache keeps what was downloaded and built; Out becomes the layout.
	Cache, Out string
	// Module is the directory of the module that builds programs of others,
	// Suite that of k8s.io/kubernetes.
	Module, Suite string
	// Pause is the program of pause.
	Pause string
}

type builder struct {
	Paths
	layout *layout
	debian debian
}

//go:embed *.go
var sources embed.FS

// Make writes the layout unless one is there that these sources wrote.
func Make(ctx context.Context, p Paths) error {
	mark, err := fingerprint(p)
	if err != nil {
		return err
	}
	stamp := filepath.Join(p.Out, "made-by")
	if have, err := os.ReadFile(stamp); err == nil && string(have) == mark {
		return nil
	}
	if err := os.RemoveAll(p.Out); err != nil {
		return err
	}
	l, err := newLayout(p.Out)
	if err != nil {
		return err
	}
	b := &builder{Paths: p, layout: l, debian: debian{filepath.Join(p.Cache, "debian")}}
	if err := os.MkdirAll(b.debian.dir, 0o755); err != nil {
		return err
	}
	if err := b.all(ctx); err != nil {
		return fmt.Errorf("making the images of the suite: %w", err)
	}
	if err := l.close(); err != nil {
		return err
	}
	return os.WriteFile(stamp, []byte(mark), 0o644)
}

// fingerprint names the sources, the suite and pause.
func fingerprint(p Paths) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, p.Suite)
	entries, err := sources.ReadDir(".")
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		data, err := sources.ReadFile(e.Name())
		if err != nil {
			return "", err
		}
		h.Write(data)
	}
	pause, err := os.ReadFile(p.Pause)
	h.Write(pause)
	return hex.EncodeToString(h.Sum(nil)), err
}

// recipe is one image: its names, and how it comes to be.
type recipe struct {
	images []upstream.ImageID
	make   func(context.Context, *builder, roots) (root, Config, error)
}

// roots are what several images stand on.
type roots struct {
	busybox, agnhost root
}

func (b *builder) all(ctx context.Context) error {
	var r roots
	var err error
	if r.busybox, err = b.busybox(ctx); err != nil {
		return err
	}
	if r.agnhost, err = b.agnhost(ctx, r.busybox); err != nil {
		return err
	}
	for _, recipe := range recipes() {
		root, config, err := recipe.make(ctx, b, r)
		if err != nil {
			return fmt.Errorf("%s: %w", upstream.GetE2EImage(recipe.images[0]), err)
		}
		if config.Env == nil {
			config.Env = []string{searchPath}
		}
		d, err := b.layout.image(root.layers, config)
		if err != nil {
			return err
		}
		for _, id := range recipe.images {
			b.layout.name(d, upstream.GetE2EImage(id))
		}
	}
	return nil
}

// goProgram builds a program of a module and returns its bytes.
func (b *builder) goProgram(ctx context.Context, pkg string) ([]byte, error) {
	out := filepath.Join(b.Cache, "programs", filepath.Base(filepath.Dir(pkg))+"-"+filepath.Base(pkg))
	if _, err := run(ctx, b.Module, "go", "build", "-ldflags", "-s -w", "-o", out, pkg); err != nil {
		return nil, fmt.Errorf("building %s: %w", pkg, err)
	}
	return os.ReadFile(out)
}

// suiteFile is a file of the suite's module.
func (b *builder) suiteFile(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(b.Suite, "test", "images", name))
}
