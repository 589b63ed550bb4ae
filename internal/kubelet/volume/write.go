package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Names inside a volume with files from the API, as upstream lays them out:
//
//	..2026_11_20_18_30_00.123456789/key   the files of one version
//	..data -> ..2026_11_20_18_30_00.123456789
//	key -> ..data/key
//
// A new version is written beside the old one, and a rename of ..data makes all
// its files visible at once.
const (
	dataLink    = "..data"
	dataLinkNew = "..data_tmp"
)

// writeAtomically makes dir show exactly the given files. It does nothing if it
// shows them already.
func writeAtomically(dir string, files map[string]file, group *int64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making volume directory: %w", err)
	}
	old, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading current version: %w", err)
	}
	if old != "" && same(filepath.Join(dir, old), files) {
		return linkAll(dir, files)
	}
	version, err := writeVersion(dir, files, group)
	if err != nil {
		return err
	}
	if err := linkAll(dir, files); err != nil {
		return err
	}
	tmp := filepath.Join(dir, dataLinkNew)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing stale link: %w", err)
	}
	if err := os.Symlink(version, tmp); err != nil {
		return fmt.Errorf("linking new version: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, dataLink)); err != nil {
		return fmt.Errorf("showing new version: %w", err)
	}
	return sweep(dir, version, files)
}

// writeVersion writes the files into a directory of their own.
func writeVersion(dir string, files map[string]file, group *int64) (string, error) {
	path, err := os.MkdirTemp(dir, time.Now().UTC().Format("..2006_01_02_15_04_05."))
	if err != nil {
		return "", fmt.Errorf("making new version: %w", err)
	}
	if err := os.Chmod(path, 0o755); err != nil {
		return "", fmt.Errorf("opening new version: %w", err)
	}
	for name, f := range files {
		if err := writeFile(filepath.Join(path, name), f, group); err != nil {
			return "", errors.Join(err, os.RemoveAll(path))
		}
	}
	return filepath.Base(path), nil
}

func writeFile(path string, f file, group *int64) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making directory of %s: %w", filepath.Base(path), err)
	}
	mode := fs.FileMode(f.mode & 0o777)
	if group != nil {
		mode |= 0o440 // who shares the volume may read it, as upstream
	}
	if err := os.WriteFile(path, f.data, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Base(path), err)
	}
	uid, gid := -1, -1
	if f.uid != nil {
		uid = int(*f.uid)
	}
	if group != nil {
		gid = int(*group)
	}
	if uid >= 0 || gid >= 0 {
		if err := os.Chown(path, uid, gid); err != nil {
			return fmt.Errorf("giving %s away: %w", filepath.Base(path), err)
		}
	}
	// After chown, which clears bits; and WriteFile's mode is under the umask.
	return os.Chmod(path, mode)
}

// same reports whether a version holds exactly these files.
func same(dir string, files map[string]file) bool {
	count := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		want, ok := files[name]
		have, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !ok || !bytes.Equal(have, want.data) {
			return errors.New("differs")
		}
		count++
		return nil
	})
	return err == nil && count == len(files)
}

// linkAll makes a link for the first part of each path.
func linkAll(dir string, files map[string]file) error {
	for name := range files {
		top, _, _ := strings.Cut(name, "/")
		link := filepath.Join(dir, top)
		want := filepath.Join(dataLink, top)
		if have, err := os.Readlink(link); err == nil && have == want {
			continue
		}
		if err := os.RemoveAll(link); err != nil {
			return fmt.Errorf("removing %s: %w", top, err)
		}
		if err := os.Symlink(want, link); err != nil {
			return fmt.Errorf("linking %s: %w", top, err)
		}
	}
	return nil
}

// sweep removes old versions and links to files that are gone.
func sweep(dir, version string, files map[string]file) error {
	tops := map[string]bool{}
	for name := range files {
		top, _, _ := strings.Cut(name, "/")
		tops[top] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("listing volume: %w", err)
	}
	var failed []error
	for _, e := range entries {
		if name := e.Name(); name != version && name != dataLink && !tops[name] {
			failed = append(failed, os.RemoveAll(filepath.Join(dir, name)))
		}
	}
	return errors.Join(failed...)
}
