package archives

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.skiff.dev/skiff/internal/image"
	"go.skiff.dev/skiff/test/testimage"
)

// node is a store, a directory of archives and what follows it.
type node struct {
	t       *testing.T
	store   *counting
	dir     string
	record  string
	log     lines
	retry   chan struct{}
	stop    context.CancelFunc
	stopped chan error
}

// counting counts how often an archive was opened.
type counting struct {
	*image.Store
	mu      sync.Mutex
	imports int
	full    bool
}

func (c *counting) Import(ctx context.Context, r io.Reader, opts image.ImportOptions) ([]image.Image, error) {
	c.mu.Lock()
	c.imports++
	full := c.full
	c.mu.Unlock()
	if full {
		return nil, fmt.Errorf("importing image: %w", image.ErrNoSpace)
	}
	return c.Store.Import(ctx, r, opts)
}

func (c *counting) setFull(full bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.full = full
}

func (c *counting) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.imports
}

// lines passes each line of the log on to who waits for it.
type lines struct {
	mu   sync.Mutex
	text []string
	more chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, string(p))
	close(l.more)
	l.more = make(chan struct{})
	return len(p), nil
}

// seen counts the lines that hold all words.
func (l *lines) seen(words ...string) (int, chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
next:
	for _, line := range l.text {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue next
			}
		}
		n++
	}
	return n, l.more
}

func newNode(t *testing.T) *node {
	t.Helper()
	tmp := t.TempDir()
	s, err := image.Open(image.Options{Dir: filepath.Join(tmp, "images")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	n := &node{
		t: t, store: &counting{Store: s}, dir: filepath.Join(tmp, "archives"), record: filepath.Join(tmp, "archives.json"),
		retry: make(chan struct{}),
	}
	n.log.more = make(chan struct{})
	return n
}

// start follows the directory and returns when it has looked at what is there.
func (n *node) start() {
	n.t.Helper()
	d := New(Options{Dir: n.dir, Record: n.record, Store: n.store, Retry: n.retry, Log: slog.New(slog.NewTextHandler(&n.log, nil))})
	ctx, stop := context.WithCancel(n.t.Context())
	n.stop, n.stopped = stop, make(chan error, 1)
	go func() {
		n.stopped <- d.Run(ctx, func() {})
		close(n.stopped)
	}()
	n.t.Cleanup(n.end)
	if err := d.Await(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) end() {
	n.stop()
	if err := <-n.stopped; err != nil {
		n.t.Error(err)
	}
}

// wait waits until the log holds want lines with all words.
func (n *node) wait(want int, words ...string) {
	n.t.Helper()
	late := time.After(time.Minute)
	for {
		got, more := n.log.seen(words...)
		if got >= want {
			return
		}
		select {
		case <-more:
		case <-late:
			n.t.Fatalf("%d lines with %q, want %d; the log is\n%s", got, words, want, strings.Join(n.log.text, ""))
		}
	}
}

func (n *node) pinned(ref string) bool {
	n.t.Helper()
	img, err := n.store.Resolve(ref)
	if err != nil {
		n.t.Fatal(err)
	}
	return img.Pinned
}

func archive(t *testing.T, name, content string) []byte {
	t.Helper()
	img := testimage.Image{Names: []string{name}, Layers: []testimage.Layer{{testimage.File("f", 0o644, []byte(content))}}}
	var buf bytes.Buffer
	if err := img.WriteDockerArchive(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// drop puts a file into the directory in one step.
func (n *node) drop(name string, data []byte) {
	n.t.Helper()
	part := filepath.Join(filepath.Dir(n.dir), "part")
	if err := os.WriteFile(part, data, 0o600); err != nil {
		n.t.Fatal(err)
	}
	if err := os.Rename(part, filepath.Join(n.dir, name)); err != nil {
		n.t.Fatal(err)
	}
}
