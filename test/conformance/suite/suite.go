// Package suite runs tests of the upstream suite, each in a process of its own:
// so each has a limit of time, a log and a report of its own, and one that ends
// badly takes no other with it.
package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"
)

// Suite is the suite as built, and the cluster that it is to judge.
type Suite struct {
	Binary, Kubectl, Kubeconfig string
	// Logs is a directory that gets one of each test.
	Logs string
}

// Result is what became of one test.
type Result struct {
	Name    string
	Passed  bool
	Seconds float64
	// Message is what the suite said of a failure.
	Message string
	// Log is the file with all that it wrote.
	Log string
	// Run is the label of what it made in the cluster.
	Run string
}

// Conformance lists the tests of the conformance programme, as the module of
// the suite has them.
func Conformance(module string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(module, "test/conformance/testdata/conformance.yaml"))
	if err != nil {
		return nil, err
	}
	var list []struct{ Codename string }
	if err := yaml.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("reading the list of the conformance programme: %w", err)
	}
	names := make([]string, len(list))
	for i, t := range list {
		names[i] = t.Codename
	}
	return names, nil
}

// All lists every test of the suite.
func (s Suite) All(ctx context.Context) ([]string, error) {
	tmp, err := os.MkdirTemp("", "skiff-conformance")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	cmd := exec.CommandContext(ctx, s.Binary, "-list-tests")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp) // the suite leaves files there
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the tests of the suite: %w", err)
	}
	// FILE:LINE: NAME, indented, below a heading.
	row := regexp.MustCompile(`(?m)^ +\S+:\d+: (.*)$`)
	var names []string
	for _, m := range row.FindAllStringSubmatch(string(out), -1) {
		names = append(names, m[1])
	}
	return names, nil
}

// grace is how long a test whose time is over may take to remove what it made.
const grace = 90 * time.Second

// Run runs one test, for at most limit.
func (s Suite) Run(ctx context.Context, id, name string, limit time.Duration) (Result, error) {
	dir := filepath.Join(s.Logs, id)
	r := Result{Name: name, Log: filepath.Join(dir, "log")}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return r, err
	}
	log, err := os.Create(r.Log)
	if err != nil {
		return r, err
	}
	defer log.Close()
	// Its temporary files go with it: the suite leaves one or more with every kubectl.
	tmp := filepath.Join(dir, "tmp")
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return r, err
	}
	defer os.RemoveAll(tmp)
	report := filepath.Join(dir, "report.json")
	timed, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(timed, s.Binary,
		"-kubeconfig="+s.Kubeconfig, "-kubectl-path="+s.Kubectl, "-provider=skeleton", "-e2e-output-dir="+dir,
		"-ginkgo.focus="+regexp.QuoteMeta(name)+"$", "-ginkgo.no-color", "-ginkgo.silence-skips", "-ginkgo.json-report="+report, "-ginkgo.timeout=1h", "-ginkgo.grace-period=30s")
	cmd.Dir = dir
	// kubectl keeps what it discovers at home.
	cmd.Env = append(os.Environ(), "HOME="+dir, "TMPDIR="+tmp)
	cmd.Stdout, cmd.Stderr = log, log
	// A signal to its group ends its kubectl too; interrupted, it cleans up.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = grace
	began := time.Now()
	err = cmd.Run()
	if cmd.Process != nil {
		// What it leaves of its own processes; there may be none.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	r.Seconds = time.Since(began).Seconds()
	if readErr := r.read(report); readErr != nil {
		r.Message = fmt.Sprintf("the suite left no report: %v, %v", err, readErr)
	}
	if timed.Err() != nil && ctx.Err() == nil {
		r.Passed, r.Message = false, fmt.Sprintf("it took more than %s: %s", limit, r.Message)
	}
	return r, errors.Join(r.label(), ctx.Err())
}

// read takes over what ginkgo reports.
func (r *Result) read(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var reports []struct {
		SpecReports []struct {
			LeafNodeType, State string
			RunTime             time.Duration
			Failure             struct{ Message string }
		}
	}
	if err := json.Unmarshal(data, &reports); err != nil {
		return err
	}
	ran := 0
	for _, report := range reports {
		for _, spec := range report.SpecReports {
			skipped := spec.State == "skipped" && spec.Failure.Message == ""
			if spec.LeafNodeType == "It" && !skipped {
				ran++
				r.Seconds, r.Passed = spec.RunTime.Seconds(), spec.State == "passed"
			}
			if spec.Failure.Message != "" {
				r.Message = strings.TrimSpace(spec.State + ": " + spec.Failure.Message)
			}
		}
	}
	if ran != 1 {
		return fmt.Errorf("%d tests ran instead of one", ran)
	}
	return nil
}

var started = regexp.MustCompile(`Starting e2e run "([^"]+)"`)

// label finds the label of the run in the log.
func (r *Result) label() error {
	data, err := os.ReadFile(r.Log)
	if err != nil {
		return err
	}
	if m := started.FindSubmatch(data); m != nil {
		r.Run = string(m[1])
	}
	return nil
}

// LeftBehind makes a failure of what a test left, which is one of the cluster's.
func (r *Result) LeftBehind(what []string) {
	r.Passed = false
	r.Message = strings.TrimSpace("left behind: " + strings.Join(what, "; ") + "\n" + r.Message)
}
