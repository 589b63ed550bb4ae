// Package emulator boots a stock Debian kernel in QEMU's software emulation,
// on a disk and an initramfs that it builds, and reads back the machine's
// report. Nothing is installed on this machine and nothing needs KVM.
package emulator

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Kernel is an unpacked kernel package.
type Kernel struct {
	// Release is what uname -r says in it.
	Release string
	image   string
	modules modules
}

// metaPackage is Debian's kernel for virtual machines; it depends on the
// package of the newest version.
const metaPackage = "linux-image-cloud-amd64"

// FetchKernel downloads the kernel package of this machine's Debian release
// and unpacks it in the user's cache directory, once.
func FetchKernel() (Kernel, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return Kernel{}, err
	}
	name, err := newestKernel()
	if err != nil {
		return Kernel{}, err
	}
	dir := filepath.Join(cache, "skiff-vm", name)
	if _, err := os.Stat(dir); err != nil {
		if err := unpackPackage(name, dir); err != nil {
			return Kernel{}, err
		}
	}
	k := Kernel{Release: strings.TrimPrefix(name, "linux-image-")}
	k.image = filepath.Join(dir, "boot", "vmlinuz-"+k.Release)
	k.modules, err = readModules(filepath.Join(dir, "lib", "modules", k.Release))
	return k, err
}

func newestKernel() (string, error) {
	out, err := exec.Command("apt-cache", "depends", metaPackage).Output()
	if err != nil {
		return "", fmt.Errorf("asking apt for %s: %w", metaPackage, err)
	}
	for word := range bytes.FieldsSeq(out) {
		if bytes.HasPrefix(word, []byte("linux-image-")) && string(word) != metaPackage {
			return string(word), nil
		}
	}
	return "", fmt.Errorf("apt knows no %s; run apt-get update", metaPackage)
}

// unpackPackage makes dir whole or not at all.
func unpackPackage(name, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	download := exec.Command("apt-get", "download", "-qq", name)
	download.Dir = temp
	if out, err := download.CombinedOutput(); err != nil {
		return fmt.Errorf("downloading %s: %w\n%s", name, err, out)
	}
	found, err := filepath.Glob(filepath.Join(temp, "*.deb"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("downloading %s gave %q: %w", name, found, err)
	}
	tree := filepath.Join(temp, "tree")
	if out, err := exec.Command("dpkg-deb", "--extract", found[0], tree).CombinedOutput(); err != nil {
		return fmt.Errorf("unpacking %s: %w\n%s", name, err, out)
	}
	return os.Rename(tree, dir)
}
