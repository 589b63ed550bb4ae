package archives

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.skiff.dev/skiff/internal/image"
)

// Nobody waits for a large archive at the start but who waits for its image.
func TestReadyComesFirst(t *testing.T) {
	n := newNode(t)
	if err := os.Mkdir(n.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	n.drop("a.tar", archive(t, "a:1", "one"))
	d := New(Options{Dir: n.dir, Record: n.record, Store: n.store, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- d.Run(ctx, func() {
			if c := n.store.count(); c != 0 {
				t.Errorf("%d imports before it was ready", c)
			}
		})
	}()
	if err := d.Await(t.Context()); err != nil || n.store.count() != 1 {
		t.Errorf("%d imports, %v", n.store.count(), err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	late := New(Options{Dir: n.dir})
	if err := late.Await(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting without end: %v", err)
	}
}

// What is there at the start comes in; the second start opens nothing; an image
// that is gone comes again.
func TestStart(t *testing.T) {
	n := newNode(t)
	if err := os.Mkdir(n.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	n.drop("a.tar", archive(t, "a:1", "one"))
	n.drop("b.tar", archive(t, "b:1", "two"))
	n.start()
	if !n.pinned("a:1") || !n.pinned("b:1") {
		t.Error("images of archives are not pinned")
	}
	n.end()
	n.start()
	if c := n.store.count(); c != 2 {
		t.Errorf("%d imports after a second start, want 2", c)
	}
	n.end()
	if err := n.store.Remove("a:1"); err != nil {
		t.Fatal(err)
	}
	n.start()
	if c := n.store.count(); c != 3 || !n.pinned("a:1") {
		t.Errorf("%d imports after an image was removed, want 3", c)
	}
}

// A copy under way is left alone, whatever else happens in the directory; its
// end is when it comes in.
func TestEndOfWriting(t *testing.T) {
	n := newNode(t)
	n.start()
	data := archive(t, "slow:1", "slow")
	f, err := os.Create(filepath.Join(n.dir, "slow.tar"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(data[:len(data)/2]); err != nil {
		t.Fatal(err)
	}
	n.drop("quick.tar", archive(t, "quick:1", "quick"))
	n.wait(1, "imported archive", "quick:1")
	if _, err := f.Write(data[len(data)/2:]); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	n.wait(1, "imported archive", "slow:1")
	if bad, _ := n.log.seen("not imported"); bad != 0 {
		t.Errorf("half an archive was told of:\n%s", strings.Join(n.log.text, ""))
	}
	if c := n.store.count(); c != 2 {
		t.Errorf("%d imports, want 2", c)
	}
}

// A broken archive is told of once and keeps no other one; mended, it comes in.
func TestBrokenArchive(t *testing.T) {
	n := newNode(t)
	n.start()
	n.drop("a.tar", []byte("no archive"))
	n.wait(1, "archive not imported", "a.tar", "invalid image archive")
	n.drop("b.tar", archive(t, "b:1", "two"))
	n.wait(1, "imported archive", "b:1")
	if err := os.Mkdir(filepath.Join(n.dir, "layout"), 0o755); err != nil {
		t.Fatal(err)
	}
	n.wait(1, "archive not imported", "layout", "skiff image import")
	n.drop("a.tar", archive(t, "a:1", "one"))
	n.wait(1, "imported archive", "a:1")
	if bad, _ := n.log.seen("not imported"); bad != 2 {
		t.Errorf("%d complaints, want 2:\n%s", bad, strings.Join(n.log.text, ""))
	}
}

// A new version takes the pin from the old one; with the archive the pin goes,
// not the image.
func TestChangeAndRemoval(t *testing.T) {
	n := newNode(t)
	n.start()
	n.drop("a.tar", archive(t, "a:1", "one"))
	n.wait(1, "imported archive")
	old, err := n.store.Resolve("a:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.dir, "a.tar"), archive(t, "a:1", "two"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.wait(2, "imported archive")
	if !n.pinned("a:1") || n.pinned(old.ID) {
		t.Error("the pin did not move to the new version")
	}
	if err := os.Remove(filepath.Join(n.dir, "a.tar")); err != nil {
		t.Fatal(err)
	}
	// What comes after the removal is seen after it.
	n.drop("b.tar", archive(t, "b:1", "three"))
	n.wait(1, "imported archive", "b:1")
	n.end()
	n.start()
	if n.pinned("a:1") {
		t.Error("the image is pinned, its archive is gone")
	}
}

// The kernel tells of the end of writing before the writer is gone: no change is missed for that.
func TestEachChangeIsSeen(t *testing.T) {
	n := newNode(t)
	n.start()
	versions := [][]byte{archive(t, "a:1", "one"), archive(t, "a:1", "another")}
	for i := range 300 {
		if err := os.WriteFile(filepath.Join(n.dir, "a.tar"), versions[i%2], 0o600); err != nil {
			t.Fatal(err)
		}
		n.wait(i+1, "imported archive")
	}
}

// A directory that somebody removes is made again and followed.
func TestDirectoryIsRemoved(t *testing.T) {
	n := newNode(t)
	n.start()
	if err := os.Remove(n.dir); err != nil {
		t.Fatal(err)
	}
	late := time.Now().Add(time.Minute)
	for _, err := os.Stat(n.dir); err != nil; _, err = os.Stat(n.dir) {
		if time.Now().After(late) {
			t.Fatal(err)
		}
	}
	n.drop("a.tar", archive(t, "a:1", "one"))
	n.wait(1, "imported archive", "a:1")
}

// What did not fit is tried again when there is room, and only then.
func TestNoSpace(t *testing.T) {
	n := newNode(t)
	n.store.setFull(true)
	n.start()
	n.drop("a.tar", archive(t, "a:1", "one"))
	n.wait(1, "archive not imported", "no space")
	n.store.setFull(false)
	n.retry <- struct{}{}
	n.wait(1, "imported archive", "a:1")
	n.retry <- struct{}{}
	n.end()
	if c := n.store.count(); c != 2 {
		t.Errorf("%d imports, want 2", c)
	}
}

// A record that cannot be read costs one reading of each archive.
func TestDamagedRecord(t *testing.T) {
	n := newNode(t)
	if err := os.Mkdir(n.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	n.drop("a.tar", archive(t, "a:1", "one"))
	n.start()
	n.end()
	if err := os.WriteFile(n.record, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.start()
	if c := n.store.count(); c != 2 {
		t.Errorf("%d imports, want 2", c)
	}
	if _, err := n.store.Resolve("a:1"); errors.Is(err, image.ErrNotFound) {
		t.Error(err)
	}
}
