// Package archives keeps the images of the archives in one directory in the
// store: what is dropped there is imported, at start and whenever it changes.
//
// A file counts when nobody has it open for writing: the end of a copy
// (IN_CLOSE_WRITE) or a rename into the directory (IN_MOVED_TO) says when to
// look, and a lease that the kernel refuses while there is a writer says which
// of the others to leave alone. The kernel tells of the end before it has let
// go of the file (__fput, seen on Linux 6.18), and nothing tells of that: for a
// second after an event, what is being written is looked at again.
//
// An archive whose inode, size and times are those of the last import is not
// opened. One that cannot be imported is told of once, until it changes, and
// keeps no other one. Images are pinned while an archive with them lies there,
// as no registry may have them; when it goes they stay, but may be collected.
package archives

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.skiff.dev/skiff/internal/image"
	"go.skiff.dev/skiff/internal/kernel/inotify"
	"go.skiff.dev/skiff/internal/kernel/rootfd"
)

// Store is what is needed of the images.
type Store interface {
	Import(ctx context.Context, r io.Reader, opts image.ImportOptions) ([]image.Image, error)
	Resolve(refOrID string) (image.Image, error)
	Pin(refOrID string, pinned bool) error
}

// Options are what a Directory needs.
type Options struct {
	// Dir holds the archives; it is made when it is not there.
	Dir string
	// Record is the file that remembers what was imported.
	Record string
	Store  Store
	// Retry, if set, says that there is room again for what did not fit.
	Retry <-chan struct{}
	// Log; nil means slog.Default.
	Log *slog.Logger
}

// Directory is one directory of archives.
type Directory struct {
	opts Options
	log  *slog.Logger
	// known are the imported archives, by name.
	known map[string]entry
	// failed are those that could not be imported, by name.
	failed map[string]failure
	// looked is closed when all that was there at the start was looked at.
	looked chan struct{}
}

type failure struct {
	identity
	noSpace bool
}

// New returns the directory; nothing is read yet.
func New(opts Options) *Directory {
	d := &Directory{opts: opts, log: opts.Log, failed: map[string]failure{}, looked: make(chan struct{})}
	if d.log == nil {
		d.log = slog.Default()
	}
	return d
}

// Await returns when all archives that lay there at the start were looked at: an
// image that is not in the store until then is in none of them.
func (d *Directory) Await(ctx context.Context) error {
	select {
	case <-d.looked:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Run calls ready, imports what is there, and follows the directory until ctx
// ends. A directory that cannot be followed is no reason for it to end.
func (d *Directory) Run(ctx context.Context, ready func()) error {
	d.known = d.load()
	w := d.watch()
	ready()
	busy := d.scan(ctx, true)
	close(d.looked)
	pause := firstPause
	again := time.NewTimer(pause)
	defer again.Stop()
	if !busy {
		again.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			w.Close()
			return nil
		case <-d.opts.Retry:
			if !d.forgive() {
				continue
			}
		case _, ok := <-w.Changed:
			if !ok {
				// The directory itself was removed or unmounted.
				w.Close()
				w = d.watch()
			}
			pause = firstPause
		case <-again.C:
		}
		if busy := d.scan(ctx, false); busy && pause < lastPause {
			again.Reset(pause)
			pause *= 2
		}
	}
}

// firstPause is how long after an event what is being written is looked at
// again; each further pause is twice as long, up to lastPause.
const (
	firstPause = time.Millisecond
	lastPause  = time.Second
)

// watch makes the directory and follows it.
func (d *Directory) watch() *inotify.Watcher {
	err := os.MkdirAll(d.opts.Dir, 0o755)
	var w *inotify.Watcher
	if err == nil {
		w, err = inotify.Watch(d.opts.Dir)
	}
	if err != nil {
		d.log.Warn("archives are imported at the next start only, their directory cannot be followed", "dir", d.opts.Dir, "err", err)
		return &inotify.Watcher{}
	}
	return w
}

// scan looks at every archive, and says whether one is being written. At the
// start of skiff one whose images are gone comes in again; later on
// `skiff image rm` is taken at its word.
func (d *Directory) scan(ctx context.Context, start bool) (busy bool) {
	files, err := os.ReadDir(d.opts.Dir)
	if err != nil {
		d.log.Warn("reading the directory of archives", "dir", d.opts.Dir, "err", err)
		return false
	}
	seen := map[string]bool{}
	for _, f := range files {
		// A name with a dot is a copy under way, which rsync and others rename.
		if name := f.Name(); !strings.HasPrefix(name, ".") {
			seen[name] = true
			busy = d.look(ctx, name, start) || busy
		}
	}
	for name := range d.failed {
		if !seen[name] {
			delete(d.failed, name)
		}
	}
	for name, old := range d.known {
		if !seen[name] {
			delete(d.known, name)
			d.unpin(old)
			d.save()
		}
	}
	return busy
}

// look imports an archive unless it is known, and says whether it is being written.
func (d *Directory) look(ctx context.Context, name string, start bool) (busy bool) {
	if ctx.Err() != nil {
		return false
	}
	path := filepath.Join(d.opts.Dir, name)
	info, err := os.Stat(path)
	if err != nil {
		d.fail(name, identity{}, fmt.Errorf("reading archive: %w", err))
		return false
	}
	id := identityOf(info)
	if d.known[name].identity == id && (!start || d.present(d.known[name])) {
		return false
	}
	if f, ok := d.failed[name]; ok && f.identity == id {
		return false
	}
	if !info.Mode().IsRegular() {
		d.fail(name, id, errors.New("only files are imported; pack a directory with tar, or use `skiff image import`"))
		return false
	}
	began := time.Now()
	imgs, id, err := d.read(ctx, path)
	switch {
	case errors.Is(err, errWriting) || ctx.Err() != nil:
		// The end of the writing is an event of its own.
		return true
	case err != nil:
		d.fail(name, id, err)
	default:
		d.imported(name, id, imgs, time.Since(began))
	}
	return false
}

var errWriting = errors.New("archive is being written")

func (d *Directory) read(ctx context.Context, path string) ([]image.Image, identity, error) {
	// What became a pipe since must not block.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, identity{}, fmt.Errorf("opening archive: %w", err)
	}
	defer f.Close()
	// Before it is read: who writes meanwhile makes it another one.
	info, err := f.Stat()
	if err != nil {
		return nil, identity{}, fmt.Errorf("reading archive: %w", err)
	}
	// An empty file was made just now; what comes next is an event.
	if info.Size() == 0 || rootfd.HasWriter(f) {
		return nil, identity{}, errWriting
	}
	imgs, err := d.opts.Store.Import(ctx, f, image.ImportOptions{})
	return imgs, identityOf(info), err
}

// fail tells of an archive once, until it changes.
func (d *Directory) fail(name string, id identity, err error) {
	noSpace := errors.Is(err, image.ErrNoSpace)
	if old, ok := d.failed[name]; ok && old.identity == id {
		return
	}
	d.failed[name] = failure{id, noSpace}
	d.log.Error("archive not imported", "file", filepath.Join(d.opts.Dir, name), "err", err)
}

// forgive forgets the archives that had no room and says whether there are any.
func (d *Directory) forgive() bool {
	forgiven := false
	for name, f := range d.failed {
		if f.noSpace {
			delete(d.failed, name)
			forgiven = true
		}
	}
	return forgiven
}

func (d *Directory) imported(name string, id identity, imgs []image.Image, took time.Duration) {
	e := entry{identity: id}
	var names []string
	for _, img := range imgs {
		e.Images = append(e.Images, img.ID)
		if len(img.Tags) == 0 {
			d.log.Warn("image of an archive has no name; give it one with `skiff image tag`", "file", name, "image", img.ID)
		}
		names = append(names, img.Tags...)
		if err := d.opts.Store.Pin(img.ID, true); err != nil {
			d.log.Warn("pinning image of an archive", "image", img.ID, "err", err)
		}
	}
	old := d.known[name]
	d.known[name] = e
	delete(d.failed, name)
	d.unpin(old)
	d.save()
	d.log.Info("imported archive", "file", name, "images", names, "took", took.Round(time.Millisecond))
}

// present says whether all images of an archive are in the store.
func (d *Directory) present(e entry) bool {
	for _, id := range e.Images {
		if _, err := d.opts.Store.Resolve(id); err != nil {
			return false
		}
	}
	return true
}
