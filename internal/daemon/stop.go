package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/config"
	"go.skiff.dev/skiff/internal/control"
	"go.skiff.dev/skiff/internal/supervisor"
)

// stopGrace is how long the processes of a pod have to end on TERM when the
// pods are stopped with the daemon.
const stopGrace = 10 * time.Second

// runPods does nothing until the end; then, if `skiff down` asked for it, it
// stops all pods. The node agent has ended by then and starts nothing anew.
func (d *daemon) runPods(ctx context.Context, ready func()) error {
	ready()
	<-ctx.Done()
	if !d.stopPods.Load() {
		return nil
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.cfg.StopTimeout)
	defer cancel()
	return d.stopAll(stopping)
}

// stopAll stops every sandbox with its containers, all at once.
func (d *daemon) stopAll(ctx context.Context) error {
	service := d.organs.containers
	containers, err := service.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return fmt.Errorf("listing the containers to stop: %w", err)
	}
	err = each(containers.Containers, func(c *runtimeapi.Container) error {
		_, err := service.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: c.Id, Timeout: int64(stopGrace.Seconds())})
		return err
	})
	if err != nil {
		return fmt.Errorf("stopping the containers: %w", err)
	}
	sandboxes, err := service.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return fmt.Errorf("listing the pods to stop: %w", err)
	}
	err = each(sandboxes.Items, func(s *runtimeapi.PodSandbox) error {
		_, err := service.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: s.Id})
		return err
	})
	if err != nil {
		return fmt.Errorf("stopping the pods: %w", err)
	}
	return nil
}

// each calls f for all items at once and joins the errors.
func each[T any](items []T, f func(T) error) error {
	errs := make([]error, len(items))
	var wg sync.WaitGroup
	for i, item := range items {
		wg.Go(func() { errs[i] = f(item) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Down stops a skiff: its pods, its daemon, its supervisor. A skiff whose
// daemon was killed is stopped as well; one that does not run is no error.
func Down(ctx context.Context, cfg config.Config, say func(string)) error {
	ctx, cancel := context.WithTimeout(ctx, cfg.StopTimeout+10*time.Second)
	defer cancel()
	client := control.NewClient(cfg.ControlSocket())
	var status control.Status
	err := client.Get(ctx, "/status", nil, &status)
	switch {
	case err == nil:
		say(fmt.Sprintf("stopping %d pods and the daemon", status.Counts.Pods))
		if err := client.Post(ctx, "/stop", nil, nil); err != nil {
			return fmt.Errorf("asking the daemon to stop: %w", err)
		}
		if err := waitGone(ctx, status.Daemon.PID); err != nil {
			return err
		}
	case !errors.Is(err, control.ErrNotRunning):
		return fmt.Errorf("asking the daemon for its state: %w", err)
	}
	if err := stopSupervisor(ctx, cfg, say); err != nil {
		return err
	}
	// What is left in the kernel serves nobody now; the next start makes it anew.
	return undo(ctx, cfg, hostSteps(), func(string) {})
}

// stopSupervisor ends the supervisor and whatever containers it still has.
func stopSupervisor(ctx context.Context, cfg config.Config, say func(string)) error {
	client := supervisor.NewClient(supervisor.Options{Socket: cfg.SupervisorSocket()})
	info, err := client.Info(ctx)
	if err != nil {
		// Nobody answers: there is none.
		return nil
	}
	if info.Containers > 0 {
		say(fmt.Sprintf("ending %d containers", info.Containers))
	}
	if err := client.Shutdown(ctx, true); err != nil {
		return fmt.Errorf("stopping the supervisor: %w", err)
	}
	return waitGone(ctx, info.PID)
}
