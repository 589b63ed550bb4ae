// Package daemon is the composition root: it makes every organ of one skiff,
// lists them in start order (server.go, node.go), and runs them as one group.
// Nothing else in the program knows all organs.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"go.skiff.dev/skiff/internal/apiserver"
	"go.skiff.dev/skiff/internal/config"
	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/lifecycle"
	"go.skiff.dev/skiff/internal/supervisor"
	"go.skiff.dev/skiff/internal/telemetry"
)

// Options is what Run needs.
type Options struct {
	Config config.Config
	// Given names the options that somebody set; what was left at its default
	// may be chosen anew where the default is taken on this machine.
	Given map[string]bool
	// Report hears of progress; it must not block.
	Report func(Progress)
	// Log is where the log goes.
	Log io.Writer
}

// Progress is one step of the start.
type Progress struct {
	Stage string `json:"stage,omitempty"`
	// Took is from the stage's start to its readiness, At since the daemon's start.
	Took time.Duration `json:"took,omitempty"`
	At   time.Duration `json:"at,omitempty"`
	// Ready is set once, when the node is Ready.
	Ready      bool   `json:"ready,omitempty"`
	Node       string `json:"node,omitempty"`
	Kubeconfig string `json:"kubeconfig,omitempty"`
	Warning    string `json:"warning,omitempty"`
	Error      string `json:"error,omitempty"`
}

// daemon is a running skiff.
type daemon struct {
	cfg     config.Config
	log     *slog.Logger
	began   time.Time
	report  func(Progress)
	group   lifecycle.Group
	organs  organs
	isReady atomic.Bool
	// stopPods says that the pods are to be stopped with the daemon.
	stopPods atomic.Bool
	// rangesSeen lets other skiffs of this machine choose their ranges.
	rangesSeen func()
	// end stops the daemon.
	end context.CancelFunc
}

// Run runs a skiff until ctx ends or a component fails. Containers go on when
// it returns, unless `skiff down` asked for their stop.
func Run(ctx context.Context, opts Options) error {
	log := telemetry.Setup(opts.Log, opts.Config.LogLevel, opts.Config.LogFormat)
	d := &daemon{cfg: opts.Config, log: log, began: time.Now(), report: opts.Report}
	// Pods read what is made for them under other users. What is nobody's business has its mode by name.
	syscall.Umask(0o022)
	// The caller's directory may be unmounted or removed while the daemon runs.
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("leaving the working directory: %w", err)
	}
	if err := preflight(d.cfg.Snapshotter); err != nil {
		return err
	}
	unlock, err := lock(&d.cfg)
	if err != nil {
		return err
	}
	defer unlock()
	if err := apiserver.CheckPort(ctx, netip.Addr{}, d.cfg.APIPort); err != nil {
		return err
	}
	if d.rangesSeen, err = lockMachine(); err != nil {
		return err
	}
	defer d.rangesSeen()
	if err := settle(&d.cfg, opts.Given); err != nil {
		return err
	}
	if err := remember(&d.cfg); err != nil {
		return err
	}
	if moved, err := cgroup.Evacuate(); err != nil {
		return fmt.Errorf("making room for pods below the root cgroup of this container: %w", err)
	} else if moved > 0 {
		log.Info("moved the processes of the root cgroup into a leaf, so that it can hold pods", "processes", moved)
	}
	ctx, d.end = context.WithCancel(ctx)
	defer d.end()
	if err := d.build(ctx); err != nil {
		return err
	}
	d.group.OnReady = func(s lifecycle.Stage) {
		d.organs.stages.ready(s)
		d.report(Progress{Stage: s.Name, Took: s.Ready - s.Start, At: s.Ready})
	}
	err = d.group.Run(ctx, func([]lifecycle.Stage) {
		d.isReady.Store(true)
		d.report(Progress{Ready: true, At: time.Since(d.began), Node: d.cfg.NodeName, Kubeconfig: d.cfg.Kubeconfig})
	})
	err = errors.Join(err, d.organs.close())
	if err != nil && !d.isReady.Load() {
		err = errors.Join(err, d.takeBack(context.WithoutCancel(ctx)))
	}
	return err
}

// takeBack removes what a start that did not succeed left on the host, unless
// containers of an earlier daemon use it.
func (d *daemon) takeBack(ctx context.Context) error {
	client := supervisor.NewClient(supervisor.Options{Socket: d.cfg.SupervisorSocket()})
	info, err := client.Info(ctx)
	if err == nil && info.Containers > 0 {
		return nil
	}
	if err == nil {
		if err := client.Shutdown(ctx, false); err != nil {
			return fmt.Errorf("ending the supervisor: %w", err)
		}
	}
	return take(ctx, &d.cfg, hostSteps(), func(string) {})
}

// build makes the organs and lists their components.
func (d *daemon) build(ctx context.Context) error {
	if err := d.makeServer(ctx); err != nil {
		return err
	}
	if err := d.makeNode(); err != nil {
		return err
	}
	d.group.Components = append(d.serverComponents(), d.nodeComponents()...)
	d.organs.stages = newStages(d.group.Components)
	return nil
}
