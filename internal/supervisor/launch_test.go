package supervisor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.skiff.dev/skiff/internal/kernel/pidfd"
)

// TestGivenUpLaunch: who gives up waiting for a new supervisor leaves none.
func TestGivenUpLaunch(t *testing.T) {
	dir := t.TempDir()
	program, told := filepath.Join(dir, "slow"), filepath.Join(dir, "told")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho $$ > "+told+".new; mv "+told+".new "+told+"; exec sleep 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan error, 1)
	go func() {
		_, err := Connect(ctx, Options{Socket: filepath.Join(dir, "s.sock"), Dir: filepath.Join(dir, "s"), Exe: func() (*os.File, error) { return os.Open(program) }})
		answer <- err
	}()
	var pid int
	(&node{t: t}).eventually(func() bool { return readJSON(told, &pid) == nil })
	cancel()
	if err := <-answer; !errors.Is(err, context.Canceled) {
		t.Errorf("connecting: %v", err)
	}
	if process, err := pidfd.Open(pid, 0); !errors.Is(err, pidfd.ErrGone) {
		t.Errorf("process %d goes on: %v", pid, err)
		_ = process.Close()
	}
}
