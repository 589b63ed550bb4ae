package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// dirForm reads what skopeo calls "dir:" and podman "docker-dir" as the image layout that it nearly is: manifest.json is
// the manifest itself, blobs lie beside it under their digests, and the manifests of an index as HEX.manifest.json. It
// knows no names.
type dirForm struct {
	archive
	top   digest.Digest
	index []byte
}

// asLayout returns a as it is, or as an image layout.
func (s *Store) asLayout(a archive) (archive, error) {
	if _, err := a.document("index.json", s.limits.Manifest); !errors.Is(err, fs.ErrNotExist) {
		return a, nil // an error shows again
	}
	top, err := a.document("manifest.json", s.limits.Manifest)
	if err != nil || !bytes.HasPrefix(bytes.TrimLeft(top, " \t\r\n"), []byte("{")) {
		return a, nil //nolint:nilerr // see above
	}
	m, err := parseManifest(top, "")
	if err != nil {
		return nil, err
	}
	d := &dirForm{archive: a, top: digest.FromBytes(top)}
	d.index, err = json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{{MediaType: m.MediaType, Digest: d.top, Size: int64(len(top))}},
	})
	return d, err
}

func (d *dirForm) document(name string, limit int64) ([]byte, error) {
	switch hex, blob := strings.CutPrefix(name, "blobs/sha256/"); {
	case name == "index.json":
		return d.index, nil
	case !blob:
		return nil, fs.ErrNotExist
	case hex == d.top.Encoded():
		return d.archive.document("manifest.json", limit)
	default:
		data, err := d.archive.document(hex, limit)
		if errors.Is(err, fs.ErrNotExist) {
			data, err = d.archive.document(hex+".manifest.json", limit)
		}
		return data, err
	}
}

func (d *dirForm) layer(name string) (layerSource, error) {
	return d.archive.layer(strings.TrimPrefix(name, "blobs/sha256/"))
}
