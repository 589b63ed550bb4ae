package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// patience is how long what a test left may take to go.
const patience = 2 * time.Minute

// namespaces is what kubectl says of them.
type namespaces struct {
	Items []struct {
		Metadata struct {
			Name              string
			DeletionTimestamp string
		}
		Status struct {
			Phase      string
			Conditions []struct{ Status, Message string }
		}
	}
}

// Namespaces waits until the namespaces of a run of the suite are gone, and
// describes those that stay. A test that was ended did not remove its own.
func (c *Cluster) Namespaces(ctx context.Context, run string) ([]string, error) {
	var left []string
	err := until(ctx, func() (bool, error) {
		out, err := c.kubectl(ctx, "get", "namespaces", "-l", "e2e-run="+run, "-o", "json")
		if err != nil {
			return false, err
		}
		var list namespaces
		if err := json.Unmarshal(out, &list); err != nil {
			return false, fmt.Errorf("listing namespaces: %w", err)
		}
		left = nil
		for _, ns := range list.Items {
			words := []string{"namespace " + ns.Metadata.Name + " is " + ns.Status.Phase}
			for _, cond := range ns.Status.Conditions {
				if cond.Status == "True" {
					words = append(words, cond.Message)
				}
			}
			left = append(left, strings.Join(words, ": "))
			if ns.Metadata.DeletionTimestamp != "" {
				continue
			}
			if _, err := c.kubectl(ctx, "delete", "namespace", ns.Metadata.Name, "--wait=false", "--ignore-not-found"); err != nil {
				return false, err
			}
		}
		return len(left) == 0, nil
	})
	return left, err
}

// Remember notes what is on the host while nothing runs.
func (c *Cluster) Remember() error {
	var err error
	c.before, err = c.host()
	return err
}

// Host waits until the host is as it was when nothing ran, and tells what is
// there beside that.
func (c *Cluster) Host(ctx context.Context) ([]string, error) {
	var left []string
	err := until(ctx, func() (bool, error) {
		now, err := c.host()
		maps.DeleteFunc(now, func(k string, _ bool) bool { return c.before[k] })
		left = slices.Sorted(maps.Keys(now))
		return len(left) == 0, err
	})
	return left, err
}

// until asks again until the answer is yes or patience has ended. An answer that
// does not come on a loaded machine is asked for again, too.
func until(ctx context.Context, f func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		done, err := f()
		if done && err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err // without one, what is left is the answer
		case <-ticker.C:
		}
	}
}

// host is what pods put on the host: cgroups, mounts, links of the bridge.
func (c *Cluster) host() (map[string]bool, error) {
	found := map[string]bool{}
	groups, err := filepath.Glob("/sys/fs/cgroup/*/skiff-" + name)
	if err != nil {
		return nil, err
	}
	for _, top := range append(groups, "/sys/fs/cgroup/skiff-"+name) {
		err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				found["cgroup "+path] = true
			}
			return nil // it went meanwhile
		})
		if err != nil {
			return nil, err
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], c.Dir) {
			found["mount "+fields[1]] = true
		}
	}
	links, err := filepath.Glob("/sys/class/net/sk-" + name + "/brif/*")
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		found["link "+filepath.Base(l)] = true
	}
	return found, nil
}
