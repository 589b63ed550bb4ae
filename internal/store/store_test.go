package store

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// running is a store that runs until the test ends or stop is called.
type running struct {
	*Store
	stop func() error
}

func options(dir string) Options {
	return Options{Dir: filepath.Join(dir, "etcd"), Socket: filepath.Join(dir, "etcd.sock"), Log: slog.New(slog.DiscardHandler)}
}

// shortDir is a directory whose path leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func start(t *testing.T, opts Options) (*running, error) {
	t.Helper()
	s := New(opts)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Component().Run(ctx, func() {}) }()
	select {
	case err := <-done:
		cancel()
		return nil, err
	case <-s.Ready():
	}
	stopped := false
	r := &running{Store: s, stop: func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	return r, nil
}

func mustStart(t *testing.T, opts Options) (*running, *clientv3.Client) {
	t.Helper()
	r, err := start(t, opts)
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return r, c
}

func TestDataStays(t *testing.T) {
	opts := options(shortDir(t))
	began := time.Now()
	first, c := mustStart(t, opts)
	t.Logf("first start: %s", time.Since(began))
	if _, err := c.Put(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	_, c = mustStart(t, opts)
	t.Logf("second start: %s", time.Since(began))
	got, err := c.Get(t.Context(), "a")
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "b" {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestRestarts starts again and again with a log of every length, from before
// the first snapshot to after several.
func TestRestarts(t *testing.T) {
	opts := options(shortDir(t))
	slowest := time.Duration(0)
	for i := range 25 {
		began := time.Now()
		r, c := mustStart(t, opts)
		slowest = max(slowest, time.Since(began))
		for j := range 97 {
			if _, err := c.Put(t.Context(), fmt.Sprintf("k%d", j), fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("the slowest start took %s", slowest)
}

// TestManyWrites passes several snapshots, and reads the data back.
func TestManyWrites(t *testing.T) {
	opts := options(shortDir(t))
	first, c := mustStart(t, opts)
	for i := range 3 * snapshotEntries {
		if _, err := c.Put(t.Context(), fmt.Sprintf("k%d", i%50), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	_, c = mustStart(t, opts)
	got, err := c.Get(t.Context(), "k49")
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != fmt.Sprint(3*snapshotEntries-1) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestSocket(t *testing.T) {
	opts := options(shortDir(t))
	mustStart(t, opts)
	info, err := os.Stat(opts.Socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v, %v", info.Mode(), err)
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + opts.Socket}, DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Put(t.Context(), "a", "b"); err != nil {
		t.Error(err)
	}
}

func TestLocked(t *testing.T) {
	opts := options(shortDir(t))
	mustStart(t, opts)
	other := opts
	other.Socket += "2"
	_, err := start(t, other)
	want := fmt.Sprintf("process %d uses it; stop that one first, or choose another data directory", os.Getpid())
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
}

func TestLongSocketPath(t *testing.T) {
	opts := options(shortDir(t))
	opts.Socket = filepath.Join(filepath.Dir(opts.Socket), strings.Repeat("x", 100), "etcd.sock")
	if _, err := start(t, opts); err == nil || !strings.Contains(err.Error(), "choose a shorter run directory") {
		t.Errorf("got %v", err)
	}
}

func TestClientBeforeStart(t *testing.T) {
	if _, err := New(options(shortDir(t))).Client(); err == nil {
		t.Error("no error")
	}
}

// TestDamaged overwrites each of the files in turn.
func TestDamaged(t *testing.T) {
	for name, pattern := range map[string]string{"database": "member/snap/db", "log": "member/wal/*.wal"} {
		t.Run(name, func(t *testing.T) {
			opts := options(shortDir(t))
			r, c := mustStart(t, opts)
			if _, err := c.Put(t.Context(), "a", "b"); err != nil {
				t.Fatal(err)
			}
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(filepath.Join(opts.Dir, pattern))
			if err != nil || len(files) == 0 {
				t.Fatalf("no %s: %v", pattern, err)
			}
			for _, f := range files {
				if err := os.WriteFile(f, []byte(strings.Repeat("garbage", 10000)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err = start(t, opts)
			if err == nil || !strings.Contains(err.Error(), opts.Dir) || !strings.Contains(err.Error(), "restore the directory from a backup") {
				t.Fatalf("got %v", err)
			}
			t.Log(err)
		})
	}
}
