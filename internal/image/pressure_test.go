package image

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/kerneltest"
	"go.skiff.dev/skiff/test/testimage"

	"go.skiff.dev/skiff/internal/kernel/rootfd"
)

// smallDisk opens a store on a file system of 32 MiB.
func smallDisk(t *testing.T, opts Options) *Store {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("skiff-test", dir, "tmpfs", 0, "size=32m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	opts.Dir, opts.Limits.ReserveBytes = filepath.Join(dir, "images"), 1
	return openStore(t, opts)
}

// fill imports an image of 4 MiB, an eighth of the disk.
func fill(t *testing.T, s *Store, name string) Image {
	t.Helper()
	body := make([]byte, 4<<20)
	_, _ = rand.Read(body)
	img := testimage.Image{Names: []string{name}, Layers: []testimage.Layer{{testimage.File("f", 0o644, body)}}}
	imgs, err := s.Import(context.Background(), bytes.NewReader(archiveOf(t, img.WriteDockerArchive)), ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return imgs[0]
}

func names(imgs []Image) (out []string) {
	for _, img := range imgs {
		out = append(out, img.Tags[0])
	}
	return out
}

// TestRemoveOnAFullDisk removes images where there is no room for a list without them.
func TestRemoveOnAFullDisk(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Mount) {
		return
	}
	for name, remove := range map[string]func(*Store) error{
		"rm":    func(s *Store) error { return s.Remove("a") },
		"prune": func(s *Store) error { _, _, err := s.Prune(t.Context(), PruneOptions{}); return err },
	} {
		s := smallDisk(t, Options{})
		fill(t, s, "a")
		ballast, err := os.Create(filepath.Join(filepath.Dir(s.opts.Dir), "ballast"))
		if err != nil {
			t.Fatal(err)
		}
		defer ballast.Close()
		for err == nil {
			_, err = ballast.Write(make([]byte, 4096))
		}
		if _, err := s.Tag("a", "b"); !errors.Is(err, ErrNoSpace) {
			t.Errorf("%s: tag on a full disk: %v", name, err)
		}
		if _, err := s.Resolve("b"); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: the tag that could not be written is there: %v", name, err)
		}
		if err := remove(s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		again := openStore(t, Options{Dir: s.opts.Dir})
		if again.keepAll || len(again.List()) != 0 || len(again.layers) != 0 {
			t.Errorf("%s: after another start: %v, %d layers", name, again.List(), len(again.layers))
		}
	}
}

// A full disk loses the images that were not used for longest, and only as
// many as it must; what is used, pinned or came just now stays.
func TestCollect(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Mount) {
		return
	}
	now := time.Unix(1_000_000, 0)
	s := smallDisk(t, Options{Now: func() time.Time { now = now.Add(time.Second); return now }})
	limits := Thresholds{High: 85, Low: 70, Spare: 2 * time.Minute}
	used, pinned := fill(t, s, "used:1"), fill(t, s, "pinned:1")
	for _, n := range []string{"let-go:1", "old:1", "older:1", "young:1"} {
		fill(t, s, n)
	}
	if c, err := s.Collect(t.Context(), limits); err != nil || c.Before < 70 || c.Before >= 85 || len(c.Removed) != 0 {
		t.Fatalf("below the threshold: %+v, %v", c, err)
	}
	fill(t, s, "young:2")
	if c, err := s.Collect(t.Context(), limits); err != nil || c.Before < 85 || len(c.Removed) != 0 || !c.Short {
		t.Fatalf("all came just now: %+v, %v", c, err)
	}
	if err := s.Pin(pinned.ID, true); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	for i, name := range []string{"older:1", "old:1", "let-go:1"} {
		_, release, err := s.Prepare(t.Context(), name, fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		release()
	}
	if _, _, err := s.Prepare(t.Context(), used.ID, "c"); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	for _, n := range []string{"young:1", "young:2"} {
		if _, err := s.Import(t.Context(), bytes.NewReader(saved(t, s, n)), ImportOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	c, err := s.Collect(t.Context(), limits)
	if err != nil || c.Short || c.Freed < 8<<20 || c.After > 70 || !slices.Equal(names(c.Removed), []string{"docker.io/library/older:1", "docker.io/library/old:1"}) {
		t.Errorf("removed %q, %+v, %v", names(c.Removed), c, err)
	}
	for _, n := range []string{"used:1", "pinned:1", "let-go:1", "young:1", "young:2"} {
		if _, err := s.Resolve(n); err != nil {
			t.Error(err)
		}
	}
}

func saved(t *testing.T, s *Store, ref string) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := s.Save(context.Background(), &buf, ref); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// A threshold of 100 is never reached, not even by a full disk.
func TestCollectNever(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Mount) {
		return
	}
	s := smallDisk(t, Options{})
	for i := range 7 {
		fill(t, s, fmt.Sprintf("a:%d", i))
	}
	if c, err := s.Collect(t.Context(), Thresholds{High: 100, Low: 10}); err != nil || len(c.Removed) != 0 || c.Before < 85 {
		t.Errorf("%+v, %v", c, err)
	}
}

// What starts a collection is the end of a container, and the import that
// fills the disk.
func TestCollectOnEvents(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Mount) {
		return
	}
	s := smallDisk(t, Options{})
	for i := range 7 {
		if _, _, err := s.Prepare(t.Context(), fill(t, s, fmt.Sprintf("a:%d", i)).ID, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	reports, done := make(chan Collection, 16), make(chan struct{})
	go func() {
		defer close(done)
		s.CollectUnderPressure(ctx, Thresholds{High: 85, Low: 50}, func(c Collection, err error) {
			if err != nil {
				t.Error(err)
			}
			reports <- c
		})
	}()
	next := func() Collection {
		t.Helper()
		select {
		case c := <-reports:
			return c
		case <-time.After(time.Minute):
			t.Fatal("no collection")
		}
		return Collection{}
	}
	if c := next(); !c.Short || c.Freed != 0 {
		t.Errorf("at the start all are in use: %+v", c)
	}
	for i := range 3 {
		s.Release(fmt.Sprint(i))
	}
	for freed := int64(0); freed < 4<<20; {
		freed += next().Freed
	}
	// Up to the threshold again, by images that nobody uses. The collection may
	// be quicker than the look at the disk here: then its report is there.
	for i := 0; len(reports) == 0; i++ {
		fill(t, s, fmt.Sprintf("b:%d", i))
		if size, free, err := rootfd.Space(s.opts.Dir); err != nil || percentUsed(size, free) >= 85 {
			break
		}
	}
	if c := next(); c.Freed < 4<<20 {
		t.Errorf("after an import: %+v", c)
	}
	stop()
	<-done
}

// The last use outlives the process and, by way of the leases, the boot.
func TestLastUseIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "images")
	now := time.Unix(1_000_000, 0)
	clock := func() time.Time { now = now.Add(time.Second); return now }
	s, err := Open(Options{Dir: dir, BootID: "one", Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	first, second, third := importNamed(t, s, "a:1", "1"), importNamed(t, s, "b:1", "2"), importNamed(t, s, "c:1", "3")
	_, release, err := s.Prepare(t.Context(), first.ID, "c1")
	if err != nil {
		t.Fatal(err)
	}
	_, release2, err := s.Prepare(t.Context(), second.ID, "c2")
	if err != nil {
		t.Fatal(err)
	}
	release2()
	release()
	want := now
	if _, _, err := s.Prepare(t.Context(), third.ID, "c3"); err != nil {
		t.Fatal(err)
	}
	s.lock.Close() // as a kill would
	now = now.Add(time.Hour)
	s = openStore(t, Options{Dir: dir, BootID: "two", Now: clock})
	if img, err := s.Resolve("a:1"); err != nil || !img.LastUsed.Equal(want) {
		t.Errorf("last used %v, %v; want %v", img.LastUsed, err, want)
	}
	if img, err := s.Resolve("c:1"); err != nil || img.LastUsed.Before(want.Add(time.Hour)) {
		t.Errorf("in use when the machine went down, last used %v, %v", img.LastUsed, err)
	}
	var order []string
	for _, img := range s.pruneOrder(PruneOptions{}) {
		order = append(order, img.ID)
	}
	if !slices.Equal(order, []string{second.ID, first.ID, third.ID}) {
		t.Errorf("order of collection %q", order)
	}
}
