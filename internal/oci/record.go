package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/kernel/pidfd"
)

// record is state.json: what a later call needs to find the container again. The directory lies on a tmpfs that a
// reboot empties (or holds the boot id for those who put it elsewhere), so it is replaced atomically but not synced.
type record struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	PID         int               `json:"pid"`
	Start       uint64            `json:"startTime"` // of init, in clock ticks since boot
	Boot        string            `json:"bootID"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Cgroup      string            `json:"cgroup"`
	CgroupDirs  []string          `json:"cgroupDirs,omitempty"` // of a relative path, which only its maker can resolve
	Unit        string            `json:"unit,omitempty"`       // of systemd
	UserUnit    bool              `json:"userUnit,omitempty"`   // of the user's own systemd
	Created     time.Time         `json:"created"`
	Owner       int               `json:"owner"`
	Namespaces  uint64            `json:"namespaces"`      // clone flags
	Hooks       bool              `json:"hooks,omitempty"` // the configuration has some
	Creating    bool              `json:"creating,omitempty"`
	OldKeyring  bool              `json:"oldKeyring,omitempty"` // the session keyring is the caller's
	SharedPID   bool              `json:"sharedPID,omitempty"`  // init is not pid 1 of a pid namespace of its own
	Listener    string            `json:"listener,omitempty"`   // the seccomp agent's socket
	Annotations map[string]string `json:"annotations,omitempty"`
}

const (
	recordFile = "state.json"
	nextFile   = ".tmp-" + recordFile // becomes it
	specFile   = "config.json"
	cgroupLink = "cgroup" // a link whose target is the cgroup's path, written before the cgroup is made
	startSock  = "start.sock"
)

// validID follows runc, whose users rely on it.
func validID(id string) error {
	if id == "" || len(id) > 1024 || id == "." || id == ".." {
		return fmt.Errorf("invalid container id %q: 1 to 1024 characters are allowed", id)
	}
	for _, r := range id {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_+-.", r)) {
			return fmt.Errorf("invalid container id %q: only letters, digits and _+-. are allowed", id)
		}
	}
	return nil
}

// bootID does not change while this process lives.
var bootID = sync.OnceValue(func() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
})

// replaceFile writes a file under another name and renames it, so that a reader sees the old or the new one.
func replaceFile(path string, data []byte, mode os.FileMode) error {
	tmp := filepath.Join(filepath.Dir(path), ".tmp-"+filepath.Base(path))
	if err := os.WriteFile(tmp, data, mode); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return err
	}
	return nil
}

func (c *Container) save() error {
	b, err := json.Marshal(&c.rec)
	if err == nil {
		err = replaceFile(filepath.Join(c.Dir, recordFile), b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("saving the container's state: %w", err)
	}
	return nil
}

// Load finds a container that some process created.
func Load(stateDir, id string) (*Container, error) {
	if err := validID(id); err != nil {
		return nil, err
	}
	c := &Container{ID: id, Dir: filepath.Join(stateDir, id)}
	b, err := os.ReadFile(filepath.Join(c.Dir, recordFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("container %q: %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("loading container %q: %w", id, err)
	}
	if err := json.Unmarshal(b, &c.rec); err != nil {
		return nil, fmt.Errorf("loading container %q: %s: %w", id, recordFile, err)
	}
	c.cg = cgroup.None()
	if c.rec.Cgroup != "" {
		if c.cg, err = cgroup.Reopen(c.rec.Cgroup, c.rec.CgroupDirs); err != nil {
			return nil, fmt.Errorf("loading container %q: %w", id, err)
		}
	}
	c.Init = &Process{PID: c.rec.PID}
	if c.rec.PID > 0 && c.rec.Boot == bootID() {
		// A process that is gone leaves the descriptor nil: the container is stopped.
		c.Init.PIDFD, _ = pidfd.Open(c.rec.PID, c.rec.Start)
	}
	return c, nil
}

func (c *Container) loadSpec() (*specs.Spec, error) {
	b, err := os.ReadFile(filepath.Join(c.Dir, specFile))
	if err != nil {
		return nil, fmt.Errorf("loading container %q: %w", c.ID, err)
	}
	c.spec = new(specs.Spec)
	if err := json.Unmarshal(b, c.spec); err != nil {
		return nil, fmt.Errorf("loading container %q: %s: %w", c.ID, specFile, err)
	}
	return c.spec, nil
}
