package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// starts is how many containers are made and removed, and how many programs are run in another one.
	starts = 10000
	// warmup is how many of each come before the first look: caches, pools and threads are there then.
	warmup = 1000
	// lanes is how many go on at once.
	lanes = 4
	// perSandbox is how many containers a sandbox has before the next takes its place.
	perSandbox = 25
)

// measureGrowth makes and removes many containers, runs many programs in one that stays, and compares what skiff and the
// machine hold before and after.
func measureGrowth(ctx context.Context, l layer) (_ []result, err error) {
	s := l.skiff
	box, config, err := l.sandbox(ctx, "stays")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.drop(ctx, box)) }()
	stays, err := l.container(ctx, box, config, "stays", "sleep", "100000")
	if err != nil {
		return nil, err
	}
	if err := l.startMany(ctx, "warm", stays, warmup); err != nil {
		return nil, err
	}
	before, err := s.settled(ctx, nil)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := l.startMany(ctx, "many", stays, starts); err != nil {
		return nil, err
	}
	took := time.Since(began)
	after, err := s.settled(ctx, before)
	if err != nil {
		return nil, err
	}
	var results []result
	for _, name := range slices.Sorted(maps.Keys(after)) {
		unit := ""
		if strings.Contains(name, "memory") {
			unit = "MiB"
		}
		results = append(results, result{"growth: " + name, after[name] - before[name], unit, fmt.Sprintf("%.1f, then %.1f after %d starts and execs in %.0f s", before[name], after[name], starts, took.Seconds())})
	}
	return results, nil
}

// startMany starts and removes n containers in sandboxes that come and go, and runs as many programs in the one that stays.
func (l layer) startMany(ctx context.Context, prefix, stays string, n int) error {
	var g errgroup.Group
	for lane := range lanes {
		g.Go(func() error {
			for i := 0; i < n/lanes; i += perSandbox {
				if err := l.startSome(ctx, fmt.Sprintf("%s-%d-%d", prefix, lane, i), stays, min(perSandbox, n/lanes-i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func (l layer) startSome(ctx context.Context, name, stays string, n int) (err error) {
	box, config, err := l.sandbox(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.drop(ctx, box), os.RemoveAll(config.LogDirectory)) }()
	for i := range n {
		c := containerConfig(config, "c"+strconv.Itoa(i), "sh", "-c", "echo hello; echo world >&2")
		c.Tty, c.Stdin = i%4 == 0, i%2 == 0
		id, err := l.begin(ctx, box, config, c)
		if err == nil {
			_, err = l.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: id})
		}
		if err != nil {
			return err
		}
		r, err := l.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: stays, Cmd: []string{"echo", "x"}, Timeout: 60})
		if err != nil || r.ExitCode != 0 || string(r.Stdout) != "x\n" {
			return fmt.Errorf("exec: %v, %w", r, err)
		}
	}
	return nil
}

// settleTime is how long what is given back late (memory, connections that end, descriptors of threads) is waited for.
const settleTime = time.Minute

// settled looks until nothing is more than before, or for so long; without a before it takes the least of what it sees.
func (s *skiff) settled(ctx context.Context, before map[string]float64) (map[string]float64, error) {
	var least map[string]float64
	for end := time.Now().Add(settleTime); ; {
		now, err := s.holdings(ctx)
		if err != nil {
			return nil, err
		}
		more := before == nil
		for name, v := range now {
			if least != nil {
				now[name] = min(v, least[name])
			}
			more = more || now[name] > before[name]
		}
		least = now
		if !more || time.Now().After(end) {
			return least, nil
		}
		if err := pause(ctx, time.Second); err != nil {
			return nil, err
		}
	}
}

// holdings counts what could grow.
func (s *skiff) holdings(ctx context.Context) (map[string]float64, error) {
	st, err := s.status(ctx)
	if err != nil {
		return nil, err
	}
	h := map[string]float64{}
	for name, pid := range map[string]int{"daemon": st.Daemon.PID, "supervisor": st.Supervisor.PID} {
		if h["memory of the "+name], err = private(pid); err != nil {
			return nil, err
		}
		for what, dir := range map[string]string{"descriptors": "fd", "threads": "task"} {
			all, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", pid, dir))
			if err != nil {
				return nil, err
			}
			h[what+" of the "+name] = float64(len(all))
		}
	}
	if h["goroutines of the daemon"], err = s.goroutines(ctx); err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", st.Daemon.PID))
	if err != nil {
		return nil, err
	}
	// Others work on this machine, too: what is counted has this skiff's name.
	h["mounts"] = float64(strings.Count(string(mounts), s.dir) + strings.Count(string(mounts), s.run))
	name := strings.TrimPrefix(s.place[0], "--name=")
	ports, err := os.ReadDir(filepath.Join("/sys/class/net", "sk-"+name, "brif"))
	if err != nil {
		return nil, err
	}
	h["network devices"] = float64(len(ports))
	h["cgroups"], h["processes"] = subtree("skiff-" + name)
	for what, dir := range map[string]string{"files of the run directory": s.run, "files of the container layer": filepath.Join(s.dir, "data/containers"), "files of the network": filepath.Join(s.dir, "data/network")} {
		h[what] = files(dir)
	}
	return h, nil
}

// goroutines asks the daemon's metrics.
func (s *skiff) goroutines(ctx context.Context) (float64, error) {
	text, err := s.client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "go_goroutines "); ok {
			return strconv.ParseFloat(strings.TrimSpace(v), 64)
		}
	}
	return 0, errors.New("the metrics do not tell the number of goroutines")
}

// subtree counts the cgroups of that name and below, in all hierarchies, and the processes in those of one.
func subtree(name string) (cgroups, processes float64) {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*/" + name)
	v2, _ := filepath.Glob("/sys/fs/cgroup/" + name)
	for i, root := range append(roots, v2...) {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				cgroups++
			}
			if err == nil && i == 0 && d.Name() == "cgroup.procs" {
				pids, _ := os.ReadFile(path)
				processes += float64(strings.Count(string(pids), "\n"))
			}
			return nil // what goes away meanwhile is not there
		})
	}
	return cgroups, processes
}

// files counts what is in a tree.
func files(root string) (n float64) {
	_ = filepath.WalkDir(root, func(string, fs.DirEntry, error) error { n++; return nil })
	return n
}
