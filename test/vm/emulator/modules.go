package emulator

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// modules is the tree of a kernel's loadable modules, by name.
type modules struct {
	files   map[string]string
	builtin []string
}

// readModules reads /lib/modules/RELEASE of an unpacked package. Such a tree
// has no modules.dep yet (depmod writes it when the package is installed), so
// each module is asked itself for what it depends on.
func readModules(dir string) (modules, error) {
	m := modules{files: map[string]string{}}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if name, _, ok := strings.Cut(filepath.Base(path), ".ko"); ok {
			m.files[moduleName(name)] = path
		}
		return err
	})
	if err != nil {
		return m, fmt.Errorf("reading modules: %w", err)
	}
	list, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return m, fmt.Errorf("reading the list of built-in modules: %w", err)
	}
	for line := range strings.Lines(string(list)) {
		m.builtin = append(m.builtin, moduleName(strings.TrimSuffix(filepath.Base(strings.TrimSpace(line)), ".ko")))
	}
	return m, nil
}

// moduleName is the one form of a module's name: file names may have dashes.
func moduleName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// module is one module's code, ready to be loaded.
type module struct {
	name string
	body []byte
}

// load reads the named modules and all that they depend on, in load order.
func (m modules) load(names []string) ([]module, error) {
	var order []module
	var visit func(name string) error
	visit = func(name string) error {
		name = moduleName(name)
		loaded := slices.ContainsFunc(order, func(o module) bool { return o.name == name })
		if loaded || slices.Contains(m.builtin, name) {
			return nil
		}
		path, ok := m.files[name]
		if !ok {
			return fmt.Errorf("the kernel has no module %q", name)
		}
		body, err := readModule(path)
		if err != nil {
			return err
		}
		needs, err := dependencies(body)
		if err != nil {
			return fmt.Errorf("reading what module %q needs: %w", name, err)
		}
		for _, n := range needs {
			if err := visit(n); err != nil {
				return fmt.Errorf("for module %q: %w", name, err)
			}
		}
		order = append(order, module{name, body})
		return nil
	}
	for _, name := range names {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// readModule reads a module; newer Debian kernels carry them packed by xz.
func readModule(path string) ([]byte, error) {
	if strings.HasSuffix(path, ".xz") {
		out, err := exec.Command("xz", "--decompress", "--stdout", path).Output()
		if err != nil {
			return nil, fmt.Errorf("unpacking %s: %w", path, err)
		}
		return out, nil
	}
	return os.ReadFile(path)
}

// dependencies reads the "depends" field of a module's .modinfo section: zero-
// terminated strings of the form key=value.
func dependencies(body []byte) ([]string, error) {
	file, err := elf.NewFile(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	section := file.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("no .modinfo section")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	var needs []string
	for field := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := bytes.CutPrefix(field, []byte("depends=")); ok && len(list) > 0 {
			needs = append(needs, strings.Split(string(list), ",")...)
		}
	}
	return needs, nil
}
