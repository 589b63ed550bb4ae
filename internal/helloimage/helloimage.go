// Package helloimage carries the image skiff.dev/hello:1 in the binary, so that
// a first deployment needs no network.
//
// `make build` compiles cmd/hello and puts it, compressed, into the directory
// image beside this file; without it (as in `go build ./...` of a clean clone)
// the program has no image, and says so where one is asked for.
package helloimage

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"go.skiff.dev/skiff/internal/image"
)

// Ref is the image's name.
const Ref = "skiff.dev/hello:1"

// sourceLabel holds the digest of the program that the image was made from.
const sourceLabel = "dev.skiff.hello.source"

// user runs the program: the number that distroless images use for "nonroot".
const user = "65532:65532"

// ErrAbsent says that this binary was built without the image.
var ErrAbsent = errors.New("this binary was built without the image " + Ref + "; use `make build`")

//go:embed image
var files embed.FS

// Store is what Ensure needs of the image store.
type Store interface {
	Resolve(refOrID string) (image.Image, error)
	Import(ctx context.Context, r io.Reader, opts image.ImportOptions) ([]image.Image, error)
	Pin(refOrID string, pinned bool) error
}

// Ensure brings the carried image into the store, unless it is there already,
// and pins it.
func Ensure(ctx context.Context, s Store) (image.Image, error) {
	packed, err := program()
	if err != nil {
		return image.Image{}, err
	}
	source := digest.FromBytes(packed).String()
	if img, err := s.Resolve(Ref); err == nil && img.Config.Labels[sourceLabel] == source {
		return img, nil
	}
	pr, pw := io.Pipe()
	defer pr.Close()
	go func() { pw.CloseWithError(write(pw, packed, source)) }()
	imgs, err := s.Import(ctx, pr, image.ImportOptions{})
	if err != nil {
		return image.Image{}, fmt.Errorf("importing carried image: %w", err)
	}
	return imgs[0], s.Pin(imgs[0].ID, true)
}

// WriteArchive writes the carried image as a docker-archive.
func WriteArchive(w io.Writer) error {
	packed, err := program()
	if err != nil {
		return err
	}
	return write(w, packed, digest.FromBytes(packed).String())
}

func program() ([]byte, error) {
	packed, err := files.ReadFile("image/hello.gz")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrAbsent
	}
	return packed, err
}

// built is the time of all files: the same program gives the same image.
var built = time.Unix(0, 0).UTC()

func write(w io.Writer, packed []byte, source string) error {
	zr, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return err
	}
	// The compressed size is about two fifths; grown once, it is never copied.
	body := bytes.NewBuffer(make([]byte, 0, 3*len(packed)))
	if _, err := body.ReadFrom(zr); err != nil {
		return err
	}
	prog := body.Bytes()
	layer := bytes.NewBuffer(make([]byte, 0, len(prog)+16<<10))
	err = writeTar(layer, []member{
		{"etc/", 0o755, nil},
		{"etc/passwd", 0o644, []byte("root:x:0:0:root:/:/hello\nnonroot:x:65532:65532:nonroot:/:/hello\n")},
		{"etc/group", 0o644, []byte("root:x:0:\nnonroot:x:65532:\n")},
		{"hello", 0o755, prog},
		{"tmp/", 0o1777, nil},
	})
	if err != nil {
		return err
	}
	config, err := json.Marshal(ocispec.Image{
		Created:  &built,
		Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Config: ocispec.ImageConfig{
			User: user, Entrypoint: []string{"/hello"}, WorkingDir: "/", Env: []string{"PATH=/"},
			ExposedPorts: map[string]struct{}{"8080/tcp": {}}, Labels: map[string]string{sourceLabel: source},
		},
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer.Bytes())}},
	})
	if err != nil {
		return err
	}
	sum := sha256.Sum256(config)
	name := hex.EncodeToString(sum[:]) + ".json"
	manifest, err := json.Marshal([]map[string]any{{"Config": name, "RepoTags": []string{Ref}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	return writeTar(w, []member{{"layer.tar", 0o644, layer.Bytes()}, {name, 0o644, config}, {"manifest.json", 0o644, manifest}})
}

type member struct {
	name string
	mode int64
	body []byte
}

func writeTar(w io.Writer, members []member) error {
	tw := tar.NewWriter(w)
	for _, m := range members {
		hdr := &tar.Header{Name: m.name, Mode: m.mode, Size: int64(len(m.body)), ModTime: built, Typeflag: tar.TypeReg}
		if m.name[len(m.name)-1] == '/' {
			hdr.Typeflag = tar.TypeDir
		}
		if err := tw.WriteHeader(hdr); err != nil {
			return err
		}
		if _, err := tw.Write(m.body); err != nil {
			return err
		}
	}
	return tw.Close()
}
