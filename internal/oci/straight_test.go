package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"go.skiff.dev/skiff/internal/kernel/pidfd"
)

// TestStraight: init becomes the process without a further word, and whoever finds that running reads so in the record.
func TestStraight(t *testing.T) {
	b := newBox(t, "echo here; exec sleep 1000")
	b.opts.Run = true
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b.opts.Stdio[1] = w
	must(t, b.create())
	w.Close()
	if _, err := io.ReadFull(r, make([]byte, len("here"))); err != nil {
		t.Fatal(err)
	}
	c, err := Load(b.opts.StateDir, b.opts.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Init.Close()
	if st, err := c.Status(); err != nil || st != specs.StateRunning {
		t.Errorf("status %q, %v", st, err)
	}
	must(t, b.c.Start(context.Background()))
}

// TestStraightTooLate: a caller whose time is over when init is the process already gets no container, and nothing of it stays,
// also without a pid namespace that would end the process's children.
func TestStraightTooLate(t *testing.T) {
	b := newBox(t, "sleep 1000 & exec sleep 1000")
	b.opts.Run = true
	b.spec.Linux.Namespaces = slices.DeleteFunc(b.spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.PIDNamespace })
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	steps := createParentSteps()
	for i, s := range steps {
		if s.name == "handshake" {
			steps[i].do = func(cr *creation, ctx context.Context) error {
				defer cancel()
				if err := s.do(cr, ctx); err != nil {
					return err
				}
				for n := 0; n < 2; {
					pids, err := cr.c.cg.Procs()
					if err != nil || !pidfd.Alive(cr.child.pidfd) {
						return fmt.Errorf("processes: %w", err)
					}
					n = len(pids)
				}
				return nil
			}
		}
	}
	if _, err := create(ctx, b.opts, steps); !errors.Is(err, context.Canceled) {
		t.Errorf("create: %v", err)
	}
	b.clean()
}
