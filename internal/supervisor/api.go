package supervisor

import (
	"os"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Phase is where a container is in its life.
type Phase string

// The phases of a container, in order.
const (
	PhaseCreated Phase = "created" // init waits, the program does not run yet
	PhaseRunning Phase = "running"
	PhaseExited  Phase = "exited"
)

// UnknownExitCode is reported for an exit that nobody could observe.
const UnknownExitCode = 255

// CreateRequest says what to run.
type CreateRequest struct {
	// ID is unique on the node.
	ID string `json:"id"`
	// Bundle is the directory that relative paths of Spec refer to; may be empty with Rootfs.
	Bundle string      `json:"bundle,omitempty"`
	Spec   *specs.Spec `json:"spec"`
	// Rootfs, if set, is mounted as the container's root inside its mount namespace.
	Rootfs *Overlay `json:"rootfs,omitempty"`
	// Images are shown by the bind mounts of Spec at their destinations.
	Images []ImageMount `json:"images,omitempty"`
	// Join names, per namespace kind, the container whose init's namespace is entered.
	Join map[specs.LinuxNamespaceType]string `json:"join,omitempty"`
	// Log is where standard output and error go; a zero Path discards them.
	Log LogOptions `json:"log"`
	// Stdin keeps the container's standard input open for attached clients;
	// StdinOnce closes it when the first of them leaves.
	Stdin     bool `json:"stdin,omitempty"`
	StdinOnce bool `json:"stdinOnce,omitempty"`
	// Runtime is the path of an OCI runtime's program, with the command line
	// that runc has; empty for skiff's own.
	Runtime string `json:"runtime,omitempty"`
	// Labels are returned as given.
	Labels map[string]string `json:"labels,omitempty"`
	// Start also starts the program (one round trip less).
	Start bool `json:"start,omitempty"`
}

// Overlay is a root file system made of an image's layers.
type Overlay struct {
	// Lower are absolute directories, the topmost first.
	Lower []string `json:"lower"`
	// Upper and Work are on one file system; both empty means read-only. They
	// end with the container, which no boot outlives, so nothing in them is
	// synced ("volatile"): it would keep nothing, and the end of a container
	// would wait for all that the disk has to write.
	Upper    string `json:"upper,omitempty"`
	Work     string `json:"work,omitempty"`
	ReadOnly bool   `json:"readOnly,omitempty"`
}

// ImageMount is an image as a read-only volume.
type ImageMount struct {
	Destination string `json:"destination"`
	// Lower are absolute directories, the topmost first.
	Lower   []string `json:"lower"`
	SubPath string   `json:"subPath,omitempty"`
}

// LogOptions say where and how a container's log is written.
type LogOptions struct {
	Path string `json:"path,omitempty"`
	// Dir is a directory above Path below which no link is followed, as pods may have it for a volume; empty means the
	// one that holds the log.
	Dir string `json:"dir,omitempty"`
	// MaxSize in bytes starts a new file; zero means never.
	MaxSize int64 `json:"maxSize,omitempty"`
	// MaxFiles counts the files kept, the current one included.
	MaxFiles int `json:"maxFiles,omitempty"`
}

// Exit tells how a container's init ended.
type Exit struct {
	// Code is the exit status, or 128 plus the signal's number.
	Code int `json:"code"`
	// Signal is the number of the signal that killed it, or 0.
	Signal int `json:"signal,omitempty"`
	// OOMKilled tells that the kernel's OOM killer ended a process in its cgroup.
	OOMKilled bool `json:"oomKilled,omitempty"`
	// Unknown tells that nobody saw the exit; Code is UnknownExitCode.
	Unknown bool      `json:"unknown,omitempty"`
	At      time.Time `json:"at"`
}

// Container is the state of one container.
type Container struct {
	ID     string            `json:"id"`
	Phase  Phase             `json:"phase"`
	PID    int               `json:"pid"`
	Labels map[string]string `json:"labels,omitempty"`
	// Bundle and CgroupPath are as given at Create.
	CgroupPath string    `json:"cgroupPath,omitempty"`
	CreatedAt  time.Time `json:"createdAt"`
	StartedAt  time.Time `json:"startedAt,omitzero"`
	// Exit is set in PhaseExited.
	Exit *Exit `json:"exit,omitempty"`
	// LostLogBytes counts output that could not be written (full disk).
	LostLogBytes int64 `json:"lostLogBytes,omitempty"`
	// Seq grows with each change of any container of this supervisor.
	Seq uint64 `json:"seq"`
}

// Event is one change. The stream begins with the present state of every
// container (Initial), then Synced, then changes as they come. An event carries
// the whole state: a consumer that was away misses intermediate phases at most,
// never an exit, because an exited container stays until Delete.
type Event struct {
	Container *Container `json:"container,omitempty"`
	Initial   bool       `json:"initial,omitempty"`
	Deleted   bool       `json:"deleted,omitempty"`
	Synced    bool       `json:"synced,omitempty"`
	// Replaced ends the stream: another client follows now.
	Replaced bool `json:"replaced,omitempty"`
}

// ExecRequest runs one more process in a container.
type ExecRequest struct {
	ID      string         `json:"id"`
	Process *specs.Process `json:"process"`
	// KillOnClose kills the process when the connection of the client ends.
	KillOnClose bool `json:"killOnClose,omitempty"`
}

// AttachRequest connects to the streams of a running container.
type AttachRequest struct {
	ID                    string `json:"id"`
	Stdin, Stdout, Stderr bool
}

// Attachment is a client's end of a container's streams. Streams that were not
// asked for, or that the container does not have, are nil. With a terminal all
// output is in Stdout. Stdout and Stderr end when the container does.
type Attachment struct {
	Stdin, Stdout, Stderr *os.File
	Terminal              bool
	release               func() error
}

// Info describes the supervisor itself.
type Info struct {
	PID        int       `json:"pid"`
	StartedAt  time.Time `json:"startedAt"`
	Containers int       `json:"containers"`
	Protocol   int       `json:"protocol"`
	// BootID is the kernel's, Epoch changes with each supervisor that started
	// from the records of another.
	BootID string `json:"bootID"`
	Epoch  uint64 `json:"epoch"`
}
