package mount

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Options is what fstab-like options of runtime-spec's mounts[] mean.
type Options struct {
	Bind, Recursive bool // "bind", "rbind"
	Remount, CopyUp bool
	Attr            Attr     // of the mount alone
	RecAttr         Attr     // "rro" and its like: of it and all below
	Atime           bool     // Attr sets how times of access are kept; "atime" and "norelatime" only take something away
	Propagation     []uint64 // in order, MS_REC included
	Params          []string // for the file system itself
	IDMap, IDMapRec bool
}

type flag struct {
	name       string
	set, clear uint64
}

// flags are the options that change a mount's attributes; with "r" in front they change it recursively
// (runtime-spec config-linux "recursive mount attributes").
var flags = [...]flag{
	{"ro", unix.MOUNT_ATTR_RDONLY, 0}, {"rw", 0, unix.MOUNT_ATTR_RDONLY},
	{"nosuid", unix.MOUNT_ATTR_NOSUID, 0}, {"suid", 0, unix.MOUNT_ATTR_NOSUID},
	{"nodev", unix.MOUNT_ATTR_NODEV, 0}, {"dev", 0, unix.MOUNT_ATTR_NODEV},
	{"noexec", unix.MOUNT_ATTR_NOEXEC, 0}, {"exec", 0, unix.MOUNT_ATTR_NOEXEC},
	{"nodiratime", unix.MOUNT_ATTR_NODIRATIME, 0}, {"diratime", 0, unix.MOUNT_ATTR_NODIRATIME},
	{"relatime", unix.MOUNT_ATTR_RELATIME, unix.MOUNT_ATTR__ATIME},
	{"norelatime", 0, unix.MOUNT_ATTR__ATIME},
	{"noatime", unix.MOUNT_ATTR_NOATIME, unix.MOUNT_ATTR__ATIME},
	{"atime", 0, unix.MOUNT_ATTR__ATIME},
	{"strictatime", unix.MOUNT_ATTR_STRICTATIME, unix.MOUNT_ATTR__ATIME},
	{"nostrictatime", 0, unix.MOUNT_ATTR__ATIME},
	{"nosymfollow", unix.MOUNT_ATTR_NOSYMFOLLOW, 0}, {"symfollow", 0, unix.MOUNT_ATTR_NOSYMFOLLOW},
}

const atimes = unix.MOUNT_ATTR__ATIME | unix.MOUNT_ATTR_NODIRATIME

var propagations = [...]flag{
	{"private", unix.MS_PRIVATE, 0}, {"rprivate", unix.MS_PRIVATE | unix.MS_REC, 0},
	{"shared", unix.MS_SHARED, 0}, {"rshared", unix.MS_SHARED | unix.MS_REC, 0},
	{"slave", unix.MS_SLAVE, 0}, {"rslave", unix.MS_SLAVE | unix.MS_REC, 0},
	{"unbindable", unix.MS_UNBINDABLE, 0}, {"runbindable", unix.MS_UNBINDABLE | unix.MS_REC, 0},
}

// superblock options that fsopen takes as flags of the file system.
var superblock = [...]string{"sync", "dirsync", "lazytime", "mand"}

// ignored options are defaults, or mean nothing to a new mount.
var ignored = [...]string{"defaults", "async", "nolazytime", "nomand", "silent", "loud", "iversion", "noiversion", "acl", "noacl"}

// Known lists the option names that ParseOptions understands, for `features`.
func Known() []string {
	out := []string{"bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap"}
	for _, f := range flags {
		out = append(out, f.name, "r"+f.name)
	}
	for _, p := range propagations {
		out = append(out, p.name)
	}
	out = append(out, superblock[:]...)
	return append(out, ignored[:]...)
}

// Propagation translates one word, as linux.rootfsPropagation has it.
func Propagation(word string) (uint64, bool) {
	for _, p := range propagations {
		if p.name == word {
			return p.set, true
		}
	}
	return 0, false
}

// ParseOptions sorts options into what the kernel's calls want. What it does not know is the file system's.
// A word may hold several options, as in fstab.
func ParseOptions(list []string) Options {
	var o Options
	for _, words := range list {
		for _, w := range split(words) {
			o.add(w)
		}
	}
	return o
}

// split takes apart what mount(2) would get as one string: commas in quotes, which labels have, are no borders.
func split(words string) []string {
	quoted := false
	return strings.FieldsFunc(words, func(r rune) bool {
		quoted = quoted != (r == '"')
		return r == ',' && !quoted
	})
}

// labels are the options of SELinux (security/selinux/hooks.c).
var labels = [...]string{"context=", "fscontext=", "defcontext=", "rootcontext="}

// IsLabel tells whether an option is SELinux's.
func IsLabel(w string) bool {
	return slices.ContainsFunc(labels[:], func(l string) bool { return strings.HasPrefix(w, l) })
}

func (o *Options) add(w string) {
	switch w {
	case "bind":
		o.Bind = true
		return
	case "rbind":
		o.Bind, o.Recursive = true, true
		return
	case "remount":
		o.Remount = true
		return
	case "tmpcopyup":
		o.CopyUp = true
		return
	case "idmap":
		o.IDMap, o.IDMapRec = true, false
		return
	case "ridmap":
		o.IDMap, o.IDMapRec = true, true
		return
	}
	if p, ok := Propagation(w); ok {
		o.Propagation = append(o.Propagation, p)
		return
	}
	for _, f := range flags {
		if f.name == w {
			o.Attr.apply(f)
			o.Atime = o.Atime || f.set&atimes != 0 || w == "relatime" // whose bits are all zero
			return
		}
	}
	for _, f := range flags {
		if strings.HasPrefix(w, "r") && f.name == w[1:] {
			o.RecAttr.apply(f)
			return
		}
	}
	for _, i := range ignored {
		if i == w {
			return
		}
	}
	if IsLabel(w) { // quotes are for mount(2), whose options are one string
		w = strings.ReplaceAll(w, `"`, "")
	}
	o.Params = append(o.Params, w)
}

// apply lets a later option win over an earlier one.
func (a *Attr) apply(f flag) {
	a.Set = a.Set&^f.clear | f.set
	a.Clear = a.Clear&^f.set | f.clear
}
