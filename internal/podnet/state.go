package podnet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// record is what is on disk about one pod, written before the kernel is
// touched and removed after it was cleaned: whenever skiff is killed, a record
// exists for each address and link in use.
type record struct {
	ID       string `json:"id"`
	BootID   string `json:"bootID"`
	Hostname string `json:"hostname,omitempty"`
	Attachment
	PortMappings []PortMapping `json:"portMappings,omitempty"`
}

// records is a directory with a file per pod.
//
// The files are renamed into place but not synced: they mean nothing after a
// reboot (the boot id says so), and a process that is killed loses no page of
// the page cache. A file that a power cut tore belongs to a former boot.
type records struct {
	dir    string
	bootID string
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// load reads all records of this boot and deletes all others.
func (r records) load() (map[string]*record, error) {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating pod network state: %w", err)
	}
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, fmt.Errorf("reading pod network state: %w", err)
	}
	found := map[string]*record{}
	for _, e := range entries {
		path := filepath.Join(r.dir, e.Name())
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading pod network state: %w", err)
		}
		rec, ok := parseRecord(b)
		if !ok || rec.BootID != r.bootID || r.path(rec.ID) != path {
			if err := os.Remove(path); err != nil {
				return nil, fmt.Errorf("removing stale pod network state: %w", err)
			}
			continue
		}
		found[rec.ID] = rec
	}
	return found, nil
}

// parseRecord reports whether b is a whole record.
func parseRecord(b []byte) (*record, bool) {
	var rec record
	if json.Unmarshal(b, &rec) != nil || rec.ID == "" || rec.HostInterface == "" || len(rec.IPs) == 0 {
		return nil, false
	}
	for _, ip := range rec.IPs {
		if !ip.IsValid() {
			return nil, false
		}
	}
	return &rec, true
}

// path names the file after a digest: an id is the caller's and may hold anything.
func (r records) path(id string) string { return filepath.Join(r.dir, digest(id)) }

func (r records) save(rec *record) error {
	rec.BootID = r.bootID
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encoding pod network state: %w", err)
	}
	path := r.path(rec.ID)
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return fmt.Errorf("writing pod network state: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("writing pod network state: %w", err)
	}
	return nil
}

func (r records) remove(id string) error {
	if err := os.Remove(r.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing pod network state: %w", err)
	}
	return nil
}
