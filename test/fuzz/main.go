// Fuzz is `make fuzz`: it finds every fuzz target of the repository and runs
// each for a bounded time, one after another.
package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// target is one fuzz function.
type target struct{ dir, name string }

var declaration = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)

func main() {
	limit := flag.Duration("time", 20*time.Second, "how long to run each target")
	small := flag.Bool("small", false, "leave out what needs Kubernetes' libraries, all of which are compiled anew for a fuzzer")
	flag.Parse()
	targets, err := find("internal")
	if err == nil && *small {
		targets, err = withoutKubernetes(targets)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
	failed := 0
	for _, t := range targets {
		fmt.Printf("%s in %s\n", t.name, t.dir)
		cmd := exec.Command("go", "test", "-run=^$", "-fuzz=^"+t.name+"$", "-fuzztime="+limit.String(), "-fuzzminimizetime=1s", "./"+t.dir)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			failed++
		}
	}
	fmt.Printf("%d passed, %d failed\n", len(targets)-failed, failed)
	if failed > 0 || len(targets) == 0 {
		os.Exit(1)
	}
}

// withoutKubernetes leaves out the targets of packages whose tests link
// client-go, and says which.
func withoutKubernetes(targets []target) ([]target, error) {
	var out []target
	heavy := map[string]bool{}
	for _, t := range targets {
		if _, known := heavy[t.dir]; !known {
			deps, err := exec.Command("go", "list", "-deps", "-test", "./"+t.dir).Output()
			if err != nil {
				return nil, fmt.Errorf("go list ./%s: %w", t.dir, err)
			}
			heavy[t.dir] = strings.Contains(string(deps), "k8s.io/client-go/")
		}
		if heavy[t.dir] {
			fmt.Printf("%s in %s is left out\n", t.name, t.dir)
			continue
		}
		out = append(out, t)
	}
	return out, nil
}

func find(root string) ([]target, error) {
	var targets []target
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range declaration.FindAllStringSubmatch(string(data), -1) {
			targets = append(targets, target{filepath.Dir(path), m[1]})
		}
		return nil
	})
	return targets, err
}
