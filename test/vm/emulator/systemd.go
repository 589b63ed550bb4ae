package emulator

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"go.skiff.dev/skiff/test/vm/plan"
)

// units are all that this machine starts: the bus, and the guest's work. Both
// go without what an ordinary boot has before them.
var units = map[string]string{
	"default.target":            "[Unit]\nWants=work.service dbus.socket\n",
	"dbus.socket.d/early.conf":  "[Unit]\nDefaultDependencies=no\n",
	"dbus.service.d/early.conf": "[Unit]\nDefaultDependencies=no\n",
	"work.service":              "[Unit]\nDefaultDependencies=no\nRequires=dbus.socket\nAfter=dbus.socket\n[Service]\nExecStart=" + plan.Guest + " " + plan.Work + "\nStandardOutput=tty\nTTYPath=/dev/ttyS0\n",
}

// Systemd puts this machine's systemd and D-Bus on the disk, which must be
// Debian's.
func (d *Disk) Systemd() error {
	if err := d.Package("systemd", "dbus", "dbus-daemon", "dbus-system-bus-common"); err != nil {
		return err
	}
	for name, body := range units {
		file := filepath.Join(d.dir, "etc/systemd/system", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(body), 0o644); err != nil {
			return err
		}
	}
	for name, line := range map[string]string{"etc/passwd": "messagebus:x:100:100::/nonexistent:/bin/false\n", "etc/group": "messagebus:x:100:\n"} {
		f, err := os.OpenFile(filepath.Join(d.dir, name), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		if _, err = f.WriteString(line); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// Package puts the files of packages that are installed here on the disk,
// and the libraries that their programs need. Documents stay away.
func (d *Disk) Package(names ...string) error {
	out, err := exec.Command("dpkg", append([]string{"--listfiles"}, names...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("listing packages: %w\n%s", err, out)
	}
	for file := range strings.Lines(string(out)) {
		file = strings.TrimSpace(file)
		info, err := os.Lstat(file)
		if err != nil || info.IsDir() || unwanted(file) {
			continue // directories come with their files, alternatives may be absent
		}
		if err := d.keep(file, info); err != nil {
			return err
		}
	}
	return nil
}

// unwanted are documents, and programs that would make units of the machine's
// disks, which takes most of the boot.
func unwanted(file string) bool {
	for _, dir := range []string{"/usr/share/dbus-1/", "/usr/share/containers/"} {
		if strings.HasPrefix(file, dir) {
			return false
		}
	}
	return strings.HasPrefix(file, "/usr/share/") || strings.HasPrefix(file, "/lib/systemd/system-generators/")
}

// keep puts a file or a link at its own path.
func (d *Disk) keep(file string, info os.FileInfo) error {
	target := filepath.Join(d.dir, file)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if info.Mode()&os.ModeSymlink != 0 {
		to, err := os.Readlink(file)
		if err != nil {
			return err
		}
		if err := os.Symlink(to, target); err != nil && !os.IsExist(err) {
			return err
		}
		return nil
	}
	body, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(target); err == nil { // may be a link into busybox
		if err := os.Remove(target); err != nil {
			return err
		}
	}
	if err := os.WriteFile(target, body, info.Mode().Perm()); err != nil {
		return err
	}
	if info.Mode().Perm()&0o111 != 0 && bytes.HasPrefix(body, []byte("\x7fELF")) {
		return d.libraries(file)
	}
	return nil
}

// libraries puts what a program is linked with on the disk.
func (d *Disk) libraries(program string) error {
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return nil //nolint:nilerr // it is static, ldd says
	}
	for word := range strings.FieldsSeq(string(out)) {
		if !strings.HasPrefix(word, "/") {
			continue
		}
		if _, err := os.Lstat(filepath.Join(d.dir, word)); err == nil {
			continue
		}
		if err := d.Add(word, word); err != nil {
			return err
		}
	}
	return nil
}
