package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// recordVersion grows when an older skiff would misread a record.
const recordVersion = 1

// sandboxRecord is a sandbox on disk. It is never changed once it is visible:
// a change makes a copy.
type sandboxRecord struct {
	Version   int                          `json:"version"`
	ID        string                       `json:"id"`
	BootID    string                       `json:"bootID"`
	Config    *runtimeapi.PodSandboxConfig `json:"config"`
	Handler   string                       `json:"handler,omitempty"`
	CreatedAt time.Time                    `json:"createdAt"`
	// Ready means that pause runs and the network is attached.
	Ready         bool     `json:"ready"`
	PID           int      `json:"pid"`
	CgroupPath    string   `json:"cgroupPath"`
	IPs           []string `json:"ips,omitempty"`
	HostInterface string   `json:"hostInterface,omitempty"`
}

// containerRecord is a container on disk, unchanged once it is visible.
type containerRecord struct {
	Version   int                         `json:"version"`
	ID        string                      `json:"id"`
	SandboxID string                      `json:"sandboxID"`
	BootID    string                      `json:"bootID"`
	Config    *runtimeapi.ContainerConfig `json:"config"`
	CreatedAt time.Time                   `json:"createdAt"`
	ImageID   string                      `json:"imageID"`
	// ImageRef is what the status calls the image: a digest name, or the id.
	ImageRef string   `json:"imageRef"`
	Lower    []string `json:"lower"`
	// Copied is when the root's copy of the image was complete, by the clock of
	// its file system. Zero: the root is an overlay.
	Copied     time.Time `json:"copied,omitzero"`
	CgroupPath string    `json:"cgroupPath"`
	LogPath    string    `json:"logPath,omitempty"`
	User       identity  `json:"user"`
	StopSignal string    `json:"stopSignal,omitempty"`
	// Volumes are host directories for the volumes that the image declares.
	Volumes []imageVolume `json:"volumes,omitempty"`

	// Images are mounted as volumes.
	Images []mountedImage `json:"images,omitempty"`

	State      runtimeapi.ContainerState `json:"state"`
	PID        int                       `json:"pid,omitempty"`
	StartedAt  time.Time                 `json:"startedAt,omitzero"`
	FinishedAt time.Time                 `json:"finishedAt,omitzero"`
	ExitCode   int32                     `json:"exitCode"`
	Reason     string                    `json:"reason,omitempty"`
	Message    string                    `json:"message,omitempty"`
}

type imageVolume struct {
	Host        string `json:"host"`
	Destination string `json:"destination"`
}

// mountedImage is an image volume (KEP-4639).
type mountedImage struct {
	Destination string   `json:"destination"`
	ID          string   `json:"id"`
	Lower       []string `json:"lower"`
	SubPath     string   `json:"subPath,omitempty"`
}

const recordName = "record.json"

// writeRecord writes a record under another name and renames it. That outlives this process, and the machine once it is
// synced.
func writeRecord(dir string, rec any) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encoding a record: %w", err)
	}
	path := filepath.Join(dir, recordName)
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("writing a record: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
		return fmt.Errorf("writing a record: %w", err)
	}
	return nil
}

// saveRecord is writeRecord, and a sync soon.
func (s *Service) saveRecord(dir string, rec any) error {
	err := writeRecord(dir, rec)
	if err == nil {
		s.behind.add(dir, s.log)
	}
	return err
}

func loadRecord(dir string, rec any) error {
	data, err := os.ReadFile(filepath.Join(dir, recordName))
	if err != nil {
		return err
	}
	return json.Unmarshal(data, rec)
}
