package emulator

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Disk is the tree that becomes the machine's root file system.
type Disk struct{ dir string }

// NewDisk begins a disk in dir with what every Unix has; the programs are
// Debian's busybox.
func NewDisk(dir string) (*Disk, error) {
	d := &Disk{dir}
	for _, name := range []string{"bin", "dev", "etc", "lib", "mnt", "proc", "root", "run", "sbin", "sys", "tmp", "usr/bin", "usr/sbin", "var/lib", "var/log", "var/tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"tmp", "var/tmp"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o777|os.ModeSticky); err != nil {
			return nil, err
		}
	}
	for name, body := range map[string]string{
		"etc/passwd":      "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
		"etc/group":       "root:x:0:\nnogroup:x:65534:\n",
		"etc/hosts":       "127.0.0.1 localhost\n",
		"etc/hostname":    "vm\n",
		"etc/resolv.conf": "nameserver 10.0.2.3\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o644); err != nil {
			return nil, err
		}
	}
	return d, d.busybox()
}

func (d *Disk) busybox() error {
	const path = "/bin/busybox"
	if err := d.Add(path, path); err != nil {
		return fmt.Errorf("%w; apt-get install busybox-static", err)
	}
	applets, err := exec.Command(path, "--list").Output()
	if err != nil {
		return fmt.Errorf("listing busybox applets: %w", err)
	}
	for applet := range strings.FieldsSeq(string(applets)) {
		if applet == "busybox" {
			continue
		}
		if err := os.Symlink(path, filepath.Join(d.dir, "bin", applet)); err != nil {
			return err
		}
	}
	return nil
}

// Add copies a file or a tree to the same or another path of the disk.
func (d *Disk) Add(from, to string) error {
	target := filepath.Join(d.dir, to)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if out, err := exec.Command("cp", "--recursive", "--dereference", "--preserve=mode", "--no-target-directory", from, target).CombinedOutput(); err != nil {
		return fmt.Errorf("copying %s to the disk: %w\n%s", from, err, out)
	}
	return nil
}

// write makes the ext4 image.
func (d *Disk) write(image string, bytes int64) error {
	out, err := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d", d.dir, image, fmt.Sprintf("%dk", bytes>>10)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("making the disk: %w\n%s", err, out)
	}
	return nil
}
