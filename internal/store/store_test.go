package store

import (
	"context"
	"path/filepath"
	"testing"
	"time"
)

func TestStore(t *testing.T) {
	dir := t.TempDir()
	s := New(Options{Dir: filepath.Join(dir, "etcd"), Socket: filepath.Join(dir, "etcd.sock")})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- s.Component().Run(ctx, func() {}) }()
	select {
	case <-s.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	t.Logf("ready after %s", time.Since(began))
	c, err := s.Client()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		began = time.Now()
		if _, err := c.Put(ctx, "a", "b"); err != nil {
			t.Fatal(err)
		}
		t.Logf("put in %s", time.Since(began))
	}
	began = time.Now()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Logf("stopped after %s", time.Since(began))
}
