package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/rootfd"
)

// record is what survives a supervisor: one file per container.
type record struct {
	Container
	// BootID and StartTicks tell whether the pid is still the same process.
	BootID     string     `json:"bootID"`
	StartTicks uint64     `json:"startTicks"`
	Log        LogOptions `json:"log"`
	Terminal   bool       `json:"terminal,omitempty"`
	StdinOnce  bool       `json:"stdinOnce,omitempty"`
	// SharedPID: init's end does not end the other processes.
	SharedPID bool `json:"sharedPID,omitempty"`
	// Runtime is the program of a foreign OCI runtime. Then StartTicks are of
	// its monitor, whose pid is Monitor, and PID is the container's own process.
	Runtime string `json:"runtime,omitempty"`
	Monitor int    `json:"monitor,omitempty"`
	// Keeper is the process that keeps the terminal, KeeperStart the time of its start.
	Keeper      int    `json:"keeper,omitempty"`
	KeeperStart uint64 `json:"keeperStart,omitempty"`
}

// watched is the process that tells of the container's end.
func (r *record) watched() int {
	if r.Monitor != 0 {
		return r.Monitor
	}
	return r.PID
}

// records is the directory of all records.
type records struct{ dir string }

// recordsIn is where the supervisor of a directory has them.
func recordsIn(dir string) records { return records{filepath.Join(dir, "containers")} }

func (r records) path(id string) string  { return filepath.Join(r.dir, id+".json") }
func (r records) pipes(id string) string { return filepath.Join(r.dir, id+".pipes") }
func (r records) remove(id string) error { return errors.Join(r.removePipes(id), r.removeFile(id)) }
func (r records) removePipes(id string) error {
	return rootfd.RemoveDir(r.pipes(id), "stdout", "stderr", "stdin")
}

func (r records) removeFile(id string) error {
	err := os.Remove(r.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// save replaces the record atomically. It is not synced to the disk: a record
// has to outlive the supervisor, which the page cache does, and not the boot,
// which no process of a container outlives. One that a power cut tears is
// recognised as damaged and removed.
func (r records) save(rec *record) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encoding the record of container %q: %w", rec.ID, err)
	}
	if err := writeAtomically(r.path(rec.ID), data); err != nil {
		return fmt.Errorf("recording container %q: %w", rec.ID, err)
	}
	return nil
}

func writeAtomically(path string, data []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

// load reads every record. A record that cannot be read is returned by id in
// bad and never stops the rest.
func (r records) load() (good []*record, bad map[string]error, err error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the records: %w", err)
	}
	bad = map[string]error{}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			if strings.HasSuffix(e.Name(), ".json.new") {
				os.Remove(filepath.Join(r.dir, e.Name())) // torn by a crash
			}
			continue
		}
		data, err := os.ReadFile(r.path(id))
		rec := &record{}
		if err == nil {
			err = json.Unmarshal(data, rec)
		}
		if err == nil && rec.ID != id {
			err = fmt.Errorf("it names container %q", rec.ID)
		}
		if err != nil {
			bad[id] = err
			continue
		}
		good = append(good, rec)
	}
	return good, bad, nil
}
