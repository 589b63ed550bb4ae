package imageapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.skiff.dev/skiff/internal/image"
	"go.skiff.dev/skiff/test/testimage"
)

func serve(t *testing.T) (*Client, *image.Store) {
	t.Helper()
	s, err := image.Open(image.Options{Dir: filepath.Join(t.TempDir(), "images")})
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: New(s), ErrorLog: log.New(complaints{t}, "", 0)}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); s.Close() })
	return NewClient(socket), s
}

// complaints fails the test when the server has something to say: a handler
// that panicked, above all.
type complaints struct{ t *testing.T }

func (c complaints) Write(p []byte) (int, error) {
	c.t.Errorf("the server says: %s", p)
	return len(p), nil
}

// TestImportOfStream sends archives of unknown length with something behind
// their end, one after the other.
func TestImportOfStream(t *testing.T) {
	c, _ := serve(t)
	body := archive(t)
	for range 100 {
		stream := io.MultiReader(bytes.NewReader(body), bytes.NewReader(make([]byte, 64<<10)))
		if _, err := c.Import(t.Context(), "-", stream, ImportOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func archive(t *testing.T) []byte {
	t.Helper()
	img := testimage.Image{Names: []string{"app:1"}, Layers: []testimage.Layer{{testimage.File("a", 0o644, []byte("a"))}}}
	var buf bytes.Buffer
	if err := img.WriteDockerArchive(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestImportListRemove(t *testing.T) {
	c, s := serve(t)
	ctx := context.Background()
	var events int
	opts := ImportOptions{Progress: func(image.Event) { events++ }}
	imgs, err := c.Import(ctx, "-", bytes.NewReader(archive(t)), opts)
	if err != nil || len(imgs) != 1 || events == 0 {
		t.Fatalf("import: %v, %v, %d events", imgs, err, events)
	}
	file := filepath.Join(t.TempDir(), "a.tar")
	if err := os.WriteFile(file, archive(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if imgs, err = c.Import(ctx, file, nil, ImportOptions{Names: []string{"other:2"}}); err != nil {
		t.Fatal(err)
	}
	list, err := c.List(ctx)
	if err != nil || len(list) != 1 || len(list[0].Tags) != 2 {
		t.Fatalf("list: %+v, %v", list, err)
	}
	var saved bytes.Buffer
	if err := c.Save(ctx, &saved, "app:1"); err != nil {
		t.Fatal(err)
	}
	if again, err := c.Import(ctx, "-", &saved, ImportOptions{}); err != nil || again[0].ID != imgs[0].ID {
		t.Errorf("what was saved: %v, %v", again, err)
	}
	if err := c.Save(ctx, &saved, "nothing"); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("saving nothing: %v", err)
	}
	_, release, err := s.Prepare(ctx, imgs[0].ID, "key")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Remove(ctx, imgs[0].ID); !errors.Is(err, image.ErrInUse) || !strings.Contains(err.Error(), "key") {
		t.Errorf("removing a used image: %v", err)
	}
	release()
	if err := c.Remove(ctx, imgs[0].ID); err != nil {
		t.Error(err)
	}
	if err := c.Remove(ctx, "nothing"); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("removing nothing: %v", err)
	}
}

func TestInspectTagPrune(t *testing.T) {
	c, _ := serve(t)
	ctx := context.Background()
	if _, err := c.Import(ctx, "-", bytes.NewReader(archive(t)), ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Tag(ctx, "app:1", "app:2"); err != nil {
		t.Fatal(err)
	}
	d, err := c.Inspect(ctx, "app:2")
	if err != nil || len(d.Tags) != 2 || len(d.History) != 1 || d.History[0].Size == 0 {
		t.Errorf("inspect: %+v, %v", d, err)
	}
	if _, err := c.Inspect(ctx, "nothing"); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("inspecting nothing: %v", err)
	}
	for _, opts := range []image.PruneOptions{{Nameless: true}, {UnusedFor: time.Hour}} {
		if got, err := c.Prune(ctx, opts); err != nil || len(got.Removed) != 0 {
			t.Errorf("prune %+v: %+v, %v", opts, got, err)
		}
	}
	if got, err := c.Prune(ctx, image.PruneOptions{}); err != nil || len(got.Removed) != 1 || got.Freed == 0 {
		t.Errorf("prune: %+v, %v", got, err)
	}
}

// An archive that breaks off says why.
func TestSaveOfBrokenImage(t *testing.T) {
	c, s := serve(t)
	ctx := context.Background()
	if _, err := c.Import(ctx, "-", bytes.NewReader(archive(t)), ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(s.FsInfo().Dir, "layers/*/fs/a"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	if err := c.Save(ctx, io.Discard, "app:1"); err == nil || !strings.Contains(err.Error(), `saving image "app:1"`) {
		t.Errorf("saving a broken image: %v", err)
	}
}

func TestImportErrors(t *testing.T) {
	c, _ := serve(t)
	whole := archive(t)
	for name, data := range map[string][]byte{"empty": nil, "text": []byte("hello, this is no tar\n"), "truncated": whole[:len(whole)/3]} {
		if _, err := c.Import(context.Background(), "-", bytes.NewReader(data), ImportOptions{}); err == nil || !strings.Contains(err.Error(), "invalid image archive") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Import(context.Background(), "/nonexistent/x.tar", nil, ImportOptions{}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("missing file: %v", err)
	}
}
