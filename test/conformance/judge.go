package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.skiff.dev/skiff/test/conformance/cluster"
	"go.skiff.dev/skiff/test/conformance/ledger"
	"go.skiff.dev/skiff/test/conformance/registry"
	"go.skiff.dev/skiff/test/conformance/suite"
)

// mirrored are the registries of the suite's images.
var mirrored = []string{"registry.k8s.io", "gcr.io"}

// court runs tests against one cluster.
type court struct {
	options
	suite    suite.Suite
	cluster  *cluster.Cluster
	deadline time.Time
	tests    int
	begun    int

	mu      sync.Mutex
	results []suite.Result
	errs    []error
}

// judge runs tests: those that may run beside others first, then the others,
// one at a time. What has not begun at the deadline has failed.
func judge(ctx context.Context, o options, b built, tests []string, deadline time.Time) ([]suite.Result, error) {
	server, err := registry.Serve(b.layout)
	if err != nil {
		return nil, err
	}
	defer server.Close()
	c, err := cluster.Start(ctx, o.skiff, b.kubectl, server.URL, mirrored)
	if err != nil {
		return nil, err
	}
	logs := filepath.Join(o.work, "logs")
	court := &court{
		options: o, cluster: c, deadline: deadline, tests: len(tests),
		suite: suite.Suite{Binary: b.suite, Kubectl: b.kubectl, Kubeconfig: c.Kubeconfig(), Logs: logs},
	}
	err = court.sit(ctx, b.layout, tests)
	return court.results, errors.Join(err, c.KeepLog(filepath.Join(o.work, "skiff.log")), c.Remove())
}

func (c *court) sit(ctx context.Context, layout string, tests []string) error {
	if err := os.RemoveAll(c.suite.Logs); err != nil {
		return err
	}
	if err := c.cluster.Import(ctx, layout); err != nil {
		return err
	}
	if err := c.cluster.Remember(); err != nil {
		return err
	}
	parallel, alone, err := c.order(tests)
	if err != nil {
		return err
	}
	c.beside(ctx, parallel)
	if len(parallel) > 0 {
		c.inspect(ctx, "the tests that ran beside each other")
	}
	for _, name := range alone {
		if c.one(ctx, name) {
			c.inspect(ctx, name)
		}
	}
	return errors.Join(append(c.errs, ctx.Err())...)
}

// order puts those first that took longest the last time, so that the end of
// the parallel part is not one long test.
func (c *court) order(tests []string) (parallel, alone []string, err error) {
	rows, err := ledger.Read(c.ledgerFile)
	seconds := map[string]float64{}
	for _, r := range rows {
		seconds[r.Name] = r.Seconds
	}
	for _, name := range tests {
		if serial(name) {
			alone = append(alone, name)
		} else {
			parallel = append(parallel, name)
		}
	}
	slices.SortStableFunc(parallel, func(a, b string) int { return int(seconds[b] - seconds[a]) })
	return parallel, alone, err
}

// beside runs tests, as many at a time as there are slots.
func (c *court) beside(ctx context.Context, names []string) {
	queue := make(chan string)
	var slots sync.WaitGroup
	for range c.slots {
		slots.Go(func() {
			for name := range queue {
				c.one(ctx, name)
			}
		})
	}
	for _, name := range names {
		queue <- name
	}
	close(queue)
	slots.Wait()
}

// one runs a test and looks at what it left in the cluster.
func (c *court) one(ctx context.Context, name string) bool {
	if ctx.Err() != nil {
		return false
	}
	limit := min(c.limit, time.Until(c.deadline))
	if limit <= 0 {
		c.add(suite.Result{Name: name, Message: "it was not begun: the time of the whole run was over"})
		return false
	}
	r, err := c.suite.Run(ctx, c.next(), name, limit)
	if err == nil && r.Run != "" {
		var left []string
		if left, err = c.cluster.Namespaces(ctx, r.Run); len(left) > 0 {
			r.LeftBehind(left)
		}
	}
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		r.Passed, r.Message = false, "the harness failed: "+err.Error()+"\n"+r.Message
	}
	c.add(r)
	return true
}

// inspect looks at the host when no test runs. What was left there is a failure
// of the test that ran, or of the run where several did.
func (c *court) inspect(ctx context.Context, who string) {
	left, err := c.cluster.Host(ctx)
	if err == nil && len(left) == 0 || ctx.Err() != nil {
		return
	}
	// Said once, not after each test that follows.
	err = errors.Join(err, c.cluster.Remember())
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := len(c.results) - 1; last >= 0 && c.results[last].Name == who {
		c.results[last].LeftBehind(left)
	} else if len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("left on the host by %s: %s", who, strings.Join(left, ", ")))
	}
	if err != nil {
		c.errs = append(c.errs, err)
	}
}

func (c *court) next() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun++
	return fmt.Sprintf("%03d", c.begun)
}

func (c *court) add(r suite.Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.results = append(c.results, r)
	verdict := "pass"
	if !r.Passed {
		verdict = "FAIL"
	}
	fmt.Printf("%d/%d %s %4.0fs %s\n", len(c.results), c.tests, verdict, r.Seconds, r.Name)
}
