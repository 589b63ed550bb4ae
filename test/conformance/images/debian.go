package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// debian makes roots of Debian's packages, without installing one: their files
// are read out of the archives that apt downloads into dir.
type debian struct {
	dir string
}

// closure is a list of packages with all that they depend on, as apt would
// install them on a machine that has none.
func (d debian) closure(ctx context.Context, packages ...string) ([]string, error) {
	empty := filepath.Join(d.dir, "status")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		return nil, err
	}
	args := append([]string{
		"install", "--yes", "--print-uris", "--no-install-recommends",
		"-o", "Dir::State::status=" + empty, "-o", "Debug::NoLocking=1",
	}, packages...)
	out, err := run(ctx, d.dir, "apt-get", args...)
	if err != nil {
		return nil, fmt.Errorf("asking apt for %v: %w", packages, err)
	}
	var names []string
	for line := range strings.Lines(out) {
		// 'http://HOST/pool/.../NAME_VERSION_ARCH.deb' NAME_VERSION_ARCH.deb SIZE SUM
		if fields := strings.Fields(line); len(fields) >= 3 && strings.HasPrefix(line, "'") {
			name, _, _ := strings.Cut(fields[1], "_")
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("asking apt for %v: it names no archive", packages)
	}
	slices.Sort(names)
	return names, nil
}

// unpack adds the files of packages to a tree, without documentation.
func (d debian) unpack(ctx context.Context, t tree, packages []string) error {
	for _, p := range packages {
		archive, err := d.archive(ctx, p)
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", archive)
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("reading %s: %w", archive, err)
		}
		if err := t.read(bytes.NewReader(out)); err != nil {
			return fmt.Errorf("reading %s: %w", archive, err)
		}
	}
	return nil
}

// archive is the file of a package, downloaded once.
func (d debian) archive(ctx context.Context, name string) (string, error) {
	pattern := filepath.Join(d.dir, name+"_*.deb")
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) > 0 {
		return strings.Join(found[:min(1, len(found))], ""), err
	}
	if _, err := run(ctx, d.dir, "apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", name); err != nil {
		return "", fmt.Errorf("downloading %s: %w", name, err)
	}
	found, err = filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("downloading %s: there is no %s", name, pattern)
	}
	return found[0], nil
}

// ballast is what no program of the suite reads.
var ballast = []string{"usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/lintian/", "usr/share/bash-completion/", "usr/share/info/"}

func (t tree) read(r io.Reader) error {
	archive := tar.NewReader(r)
	for {
		hdr, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := place(hdr.Name)
		if _, isMerged := merged[name]; name == "" || isMerged || slices.ContainsFunc(ballast, func(b string) bool { return strings.HasPrefix(name+"/", b) }) {
			continue
		}
		body, err := io.ReadAll(archive)
		if err != nil {
			return err
		}
		m := member{Header: tar.Header{Name: name, Typeflag: hdr.Typeflag, Linkname: hdr.Linkname, Mode: hdr.Mode, Uid: hdr.Uid, Gid: hdr.Gid}, body: body}
		t.put(m)
	}
}

// run runs a program of this machine and returns what it wrote.
func run(ctx context.Context, dir, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, stderr.String())
	}
	return string(out), nil
}
