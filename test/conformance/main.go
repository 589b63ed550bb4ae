// Command conformance runs the upstream suite of Kubernetes against a skiff of
// its own, without a network, and keeps the ledger of it:
//
//	make conformance                      the conformance programme, whole
//	make conformance FOCUS='REGEXP'       the tests of it whose names match
//	make conformance SELECTION=NAME       other tests of the suite; see selections.go
//
// The suite is built from its module, unchanged. Its images are made of
// Debian's packages and of Go modules.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	skiff, pause, work  string
	selection, focus    string
	slots               int
	limit, total        time.Duration
	record, recount     bool
	ledgerFile, causesF string
}

func main() {
	var o options
	flag.StringVar(&o.skiff, "skiff", "../../bin/skiff", "the skiff to judge")
	flag.StringVar(&o.pause, "pause", "../../bin/conformance/pause", "its program of a pod's first process")
	flag.StringVar(&o.work, "work", "../../bin/conformance", "directory of what is downloaded, built and reported")
	flag.StringVar(&o.selection, "selection", programme, "which tests of the suite, by name")
	flag.StringVar(&o.focus, "focus", "", "regular expression that the names of the tests match")
	flag.IntVar(&o.slots, "slots", 6, "how many tests run at a time where the suite allows")
	flag.DurationVar(&o.limit, "limit", 8*time.Minute, "how long one test may take")
	flag.DurationVar(&o.total, "total", 110*time.Minute, "how long all may take")
	flag.BoolVar(&o.record, "record", false, "write what a part of the programme gave into the ledger, too")
	flag.BoolVar(&o.recount, "recount", false, "run nothing: explain the last run again by the causes of today")
	flag.StringVar(&o.ledgerFile, "ledger", "LEDGER.md", "the ledger")
	flag.StringVar(&o.causesF, "causes", "causes.yaml", "the table of causes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	deadline := time.Now().Add(o.total)
	for _, p := range []*string{&o.skiff, &o.pause, &o.work} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	built, err := locate(ctx, o)
	if err != nil {
		return err
	}
	if o.recount {
		return recount(o, built)
	}
	// The skiff that is judged has one name and one place.
	lock, err := os.Create(filepath.Join(o.work, "lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("another run is under way in %s: %w", o.work, err)
	}
	if err := built.build(ctx, o); err != nil {
		return err
	}
	tests, err := built.choose(ctx, o)
	if err != nil {
		return err
	}
	results, err := judge(ctx, o, built, tests, deadline)
	if len(results) == 0 {
		return err
	}
	return errors.Join(err, report(o, built, results))
}
