package images

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// Media types of the OCI image specification 1.1.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar"
)

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	OS   string `json:"os"`
	Arch string `json:"architecture"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

// Config is how an image's containers start.
type Config struct {
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Cmd          []string            `json:"Cmd,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	StopSignal   string              `json:"StopSignal,omitempty"`
}

// layout is an OCI image layout that is being written.
type layout struct {
	dir   string
	index index
}

func newLayout(dir string) (*layout, error) {
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return nil, err
	}
	mark := []byte(`{"imageLayoutVersion":"1.0.0"}`)
	return &layout{dir: dir, index: index{SchemaVersion: 2, MediaType: typeIndex}}, os.WriteFile(filepath.Join(dir, "oci-layout"), mark, 0o644)
}

// blob writes a blob unless it is there.
func (l *layout) blob(mediaType string, data []byte) (descriptor, error) {
	sum := sha256.Sum256(data)
	name := hex.EncodeToString(sum[:])
	d := descriptor{MediaType: mediaType, Digest: "sha256:" + name, Size: int64(len(data))}
	file := filepath.Join(l.dir, "blobs", "sha256", name)
	if _, err := os.Stat(file); err == nil {
		return d, nil
	}
	return d, os.WriteFile(file, data, 0o644)
}

func (l *layout) json(mediaType string, value any) (descriptor, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return descriptor{}, err
	}
	return l.blob(mediaType, data)
}

// image writes an image of layers that are blobs already, whose digests are
// those of the plain tars.
func (l *layout) image(layers []descriptor, c Config) (descriptor, error) {
	diffs := make([]string, len(layers))
	for i, d := range layers {
		diffs[i] = d.Digest
	}
	config, err := l.json(typeConfig, map[string]any{
		"created": epoch.UTC(), "os": "linux", "architecture": runtime.GOARCH, "config": c,
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
	})
	if err != nil {
		return descriptor{}, err
	}
	return l.json(typeManifest, manifest{SchemaVersion: 2, MediaType: typeManifest, Config: config, Layers: layers})
}

// name gives a name to an image.
func (l *layout) name(d descriptor, name string) {
	d.Annotations = map[string]string{"io.containerd.image.name": name}
	d.Platform = &platform{OS: "linux", Arch: runtime.GOARCH}
	l.index.Manifests = append(l.index.Manifests, d)
}

// close writes the index.
func (l *layout) close() error {
	data, err := json.MarshalIndent(l.index, "", " ")
	if err != nil {
		return fmt.Errorf("writing the index: %w", err)
	}
	return os.WriteFile(filepath.Join(l.dir, "index.json"), data, 0o644)
}
