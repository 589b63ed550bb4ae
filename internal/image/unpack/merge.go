//go:build linux

package unpack

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/rootfd"
)

// Merge lays layers over each other in a directory, the bottom one first, as an overlay mount would show them. Files
// are further names of the layers' own, so nobody may write to them. Whiteouts are taken in both forms.
func Merge(ctx context.Context, layers []string, dir string, room func(int64) error) error {
	to, err := rootfd.Open(dir)
	if err != nil {
		return fmt.Errorf("opening the merged tree: %w", err)
	}
	defer to.Close()
	for _, l := range layers {
		if err := mergeOne(ctx, l, to, room); err != nil {
			return fmt.Errorf("merging layer %q: %w", l, err)
		}
	}
	return nil
}

func mergeOne(ctx context.Context, layer string, to *rootfd.Root, room func(int64) error) error {
	from, err := rootfd.Open(layer)
	if err != nil {
		return err
	}
	defer from.Close()
	return rootfd.Copy(ctx, from, to, rootfd.CopyOptions{Choose: choose, Link: true, Room: room})
}

// choose reads the marks of a directory of a layer. They speak of lower layers only, so what they take away goes
// before the layer's own comes.
func choose(from rootfd.Dir, names []string) (rootfd.Choice, error) {
	var c rootfd.Choice
	marks, err := rootfd.Attrs(from.FD, func(name string) bool { return name == opaqueAttr })
	if err != nil {
		return c, err
	}
	c.Clear = string(marks[opaqueAttr]) == "y" || slices.Contains(names, opaqueName)
	for _, name := range names {
		if hidden, ok := strings.CutPrefix(name, whiteoutPrefix); ok {
			if !strings.HasPrefix(name, metaPrefix) {
				c.Remove = append(c.Remove, hidden)
			}
			continue
		}
		st, err := from.Stat(name)
		if err != nil {
			return c, fmt.Errorf("fstatat %q: %w", name, err)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 {
			c.Remove = append(c.Remove, name)
			continue
		}
		c.Names = append(c.Names, name)
	}
	return c, nil
}
