package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const program = "bin/skiff"

// skiff is a running cluster of this measurement.
type skiff struct {
	dir    string
	run    string
	place  []string
	client kubernetes.Interface
}

// start starts a fresh cluster on names and ports of its own.
func start(ctx context.Context) (*skiff, error) {
	dir, err := os.MkdirTemp("", "skiff-perf-")
	if err != nil {
		return nil, err
	}
	run, err := os.MkdirTemp(memory(), "skiff-perf-run-")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &skiff{dir: dir, run: run, place: []string{
		"--name=perf" + strconv.Itoa(os.Getpid()), "--data-dir=" + dir + "/data", "--run-dir=" + run, "--kubeconfig=" + dir + "/kubeconfig.yaml",
	}}
	if _, err := s.verb(ctx, "up", "--detach", "--api-port="+strconv.Itoa(port), "--log-dir="+dir+"/logs"); err != nil {
		return nil, errors.Join(err, s.purge())
	}
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig.yaml"))
	if err != nil {
		return nil, errors.Join(err, s.purge())
	}
	config.QPS = -1
	s.client, err = kubernetes.NewForConfig(config)
	return s, err
}

// memory is a directory in memory, as /run is on most machines: what runtimes
// keep there is not to be measured on a disk.
func memory() string {
	for _, dir := range []string{"/run", "/dev/shm"} {
		var fs unix.Statfs_t
		if unix.Statfs(dir, &fs) == nil && fs.Type == unix.TMPFS_MAGIC {
			return dir
		}
	}
	return os.TempDir()
}

// verb runs a verb of skiff and returns its stdout.
func (s *skiff) verb(ctx context.Context, verb string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, append(append([]string{verb}, s.place...), args...)...)
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("skiff %s: %w\n%s", verb, err, exit.Stderr)
	}
	return out, err
}

// purge removes every trace.
func (s *skiff) purge() error {
	_, err := s.verb(context.Background(), "down", "--purge")
	return errors.Join(err, os.RemoveAll(s.dir), os.RemoveAll(s.run))
}

// status is the part of `skiff status -o json` that is measured.
type status struct {
	Daemon     struct{ PID int }
	Supervisor struct{ PID int }
	Memory     struct{ TotalBytes uint64 }
}

func (s *skiff) status(ctx context.Context) (status, error) {
	var st status
	out, err := s.verb(ctx, "status", "-o", "json")
	if err != nil {
		return st, err
	}
	return st, json.Unmarshal(out, &st)
}

func (s *skiff) memory(ctx context.Context) (uint64, error) {
	st, err := s.status(ctx)
	return st.Memory.TotalBytes, err
}

func (s *skiff) pids(ctx context.Context) ([]int, error) {
	st, err := s.status(ctx)
	pids := []int{st.Daemon.PID}
	if st.Supervisor.PID != 0 {
		pids = append(pids, st.Supervisor.PID)
	}
	return pids, err
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
