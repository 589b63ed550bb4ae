package oci

import (
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/kernel/seccomp"
)

// CreateOptions says what Create makes. Only ID, StateDir and Spec are needed.
type CreateOptions struct {
	ID       string      // [A-Za-z0-9_+.-]+, at most 1024 bytes
	StateDir string      // parent of the container's own state directory; created 0700 when absent
	Bundle   string      // absolute; relative root paths are taken from it; may be empty when Spec.Root.Path is absolute
	Spec     *specs.Spec // runtime-spec 1.3; not modified
	RawSpec  []byte      // optional: Spec's JSON as it was read, saves encoding it again

	Stdio   [3]*os.File  // the process's standard files; nil means /dev/null; ignored with Process.Terminal
	Rootfs  *Overlay     // mounted by init inside the new mount namespace; nil: Spec.Root.Path
	Images  []ImageMount // what the bind mounts at these destinations show in place of their source
	Join    map[specs.LinuxNamespaceType]*os.File
	Exe     *os.File // sealed copy of skiff-oci (ocibin.Open); nil: a sealed copy of /proc/self/exe is made
	RootDir *os.File // unused with Rootfs; optional: an open directory used in place of Spec.Root.Path

	ConsoleSocket string         // unix socket that gets the pty master (runc's protocol); empty: Process.Console
	PlainLines    bool           // without ConsoleSocket: the terminal does not end lines in CR LF (ONLCR)
	ExtraFiles    []*os.File     // become descriptors 3.. of the process
	BareBinds     bool           // bind mounts get runc's flags: with one named, none of the source's but those named
	Systemd       bool           // the cgroup is a scope that systemd makes; Spec.Linux.CgroupsPath is SLICE:PREFIX:NAME
	NoPivot       bool           // chroot in place of pivot_root, for a root that lives on a ramfs
	NoNewKeyring  bool           // keep the caller's session keyring
	Run           bool           // Start follows at once, by the one that Create returns: nobody else can start it
	PidFile       string         // gets init's pid, written atomically before Create returns
	Seccomp       *seccomp.Cache // of compiled profiles, kept by a caller that makes many containers; may be nil
	Warn          func(string)
}

// Overlay is a root file system made of image layers. Init mounts it in the container's own mount namespace, so the
// host's mount table never sees it and nothing can leak.
type Overlay struct {
	Lower       []string // absolute, top layer first
	Upper, Work string   // both empty: a read-only root
	ReadOnly    bool
	Volatile    bool // no sync on unmount (overlayfs "volatile", Linux 5.10)
}

// ImageMount is an image as a volume. Like the root it is never in the host's mount table.
type ImageMount struct {
	Destination string   // of the bind mount in Spec.Mounts
	Lower       []string // absolute, top layer first
	SubPath     string   // what of it is shown; empty: all
}

// ExecOptions describes one more process in a running container. It joins every namespace and the cgroup of init and
// is a child of the caller.
type ExecOptions struct {
	Spec          *specs.Process // Terminal, ConsoleSize, User, Args, Env, Cwd, Capabilities, NoNewPrivileges...
	Stdio         [3]*os.File    // as in CreateOptions
	ConsoleSocket string
	PlainLines    bool // as in CreateOptions
	ExtraFiles    []*os.File
	Exe           *os.File
	PidFile       string
	SubCgroup     cgroup.Sub // below the container's cgroup; nil: in it, or where init is when it takes no process
	IgnorePaused  bool
	Seccomp       *seccomp.Cache // as in CreateOptions
	Warn          func(string)
}
