package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.skiff.dev/skiff/internal/supervisor"
)

// turns is how many containers each makes in a row.
const turns = 10

// measureSupervised makes, runs and removes a container by a supervisor, and
// the same configuration by crun in turns.
func measureSupervised(ctx context.Context) (_ []result, err error) {
	spec := bareSpec("/bin/true")
	bundle, err := makeBundleOf(spec)
	if err != nil {
		return nil, err
	}
	defer removeBundle(bundle)
	crun := peer(ctx, "crun", bundle)
	dir := stateDir(bundle)
	c, err := supervisor.Connect(ctx, supervisor.Options{
		Socket: filepath.Join(dir, "s.sock"), Dir: filepath.Join(dir, "s"),
		Exe: func() (*os.File, error) { return os.Open("bin/skiff-oci") },
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Shutdown(context.Background(), true)) }()
	var own, theirs []time.Duration
	// What one leaves to the kernel (network namespaces go in the background) makes the next one wait, so each follows
	// its own kind.
	for turn := range runs / turns {
		for i := range turns {
			id := fmt.Sprintf("perf-%d-%d-%d", os.Getpid(), turn, i)
			began := time.Now()
			if err := supervised(ctx, c, supervisor.CreateRequest{ID: id, Bundle: bundle, Spec: spec, Start: true}); err != nil {
				return nil, err
			}
			own = append(own, time.Since(began))
		}
		for i := 0; crun != nil && i < turns; i++ {
			took, _, err := runContainer(ctx, *crun, bundle, fmt.Sprintf("perf-%d-%d-%d", os.Getpid(), turn, i))
			if err != nil {
				return nil, err
			}
			theirs = append(theirs, took)
		}
	}
	results := []result{{"container by the supervisor", median(own), "ms", fmt.Sprintf("create, start, wait, delete; median of %d", runs)}}
	if crun != nil {
		results = append(results, share("container by the supervisor / crun run", own, theirs))
	}
	return results, nil
}

// supervised is a container's whole life.
func supervised(ctx context.Context, c *supervisor.Client, r supervisor.CreateRequest) error {
	if _, err := c.Create(ctx, r); err != nil {
		return err
	}
	exit, err := c.Wait(ctx, r.ID)
	if err == nil && exit.Code != 0 {
		err = fmt.Errorf("container %s ended with %d", r.ID, exit.Code)
	}
	return errors.Join(err, c.Delete(ctx, r.ID, false))
}
