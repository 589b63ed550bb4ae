package supervisor

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
)

// TestTorrent kills and replaces the supervisor while several containers write as fast as they can. The log of one is
// renamed by hand and reopened, those of the others are rotated: each line is there once, in its order.
func TestTorrent(t *testing.T) {
	n := newNode(t)
	const lines, talkers = 60000, 3
	ids := make([]string, talkers)
	for i := range ids {
		ids[i] = fmt.Sprint("t", i)
		n.run(ids[i], func(r *CreateRequest) {
			if i > 0 {
				r.Log.MaxSize, r.Log.MaxFiles = 50000, 10000
			}
		}, "sh", "-c", fmt.Sprintf("seq 1 %d; exec sleep 1000", lines))
	}
	// The last line is in the newest file with any.
	ended := func(id string) bool {
		names, _ := filepath.Glob(n.logPath(id) + ".*")
		slices.Sort(names)
		for _, name := range slices.Backward(append(names, n.logPath(id))) {
			if data, _ := os.ReadFile(name); len(data) > 0 {
				return strings.HasSuffix(logText(t, data), fmt.Sprintf("%d\n", lines))
			}
		}
		return false
	}
	for round := 0; round < 40 && !slices.ContainsFunc(ids, ended); round++ {
		switch rand.N(3) {
		case 0:
			info, err := n.client.Info(n.ctx())
			if err != nil {
				t.Fatal(err)
			}
			kill(t, info.PID)
			if n.client, err = Connect(n.ctx(), n.opts); err != nil {
				t.Fatal(err)
			}
		case 1:
			exe, err := os.Open("/proc/self/exe")
			if err != nil {
				t.Fatal(err)
			}
			if err := n.client.Upgrade(n.ctx(), exe); err != nil {
				t.Fatal(err)
			}
			exe.Close()
		case 2:
			_ = os.Rename(n.logPath(ids[0]), fmt.Sprintf("%s.%03d", n.logPath(ids[0]), round))
			if err := n.client.ReopenLog(n.ctx(), ids[0]); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, id := range ids {
		n.eventually(func() bool { return ended(id) })
		names, err := filepath.Glob(n.logPath(id) + ".*")
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(names)
		var all strings.Builder
		for _, name := range append(names, n.logPath(id)) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all.WriteString(logText(t, data))
		}
		for i, line := range strings.Split(strings.TrimSuffix(all.String(), "\n"), "\n") {
			if line != fmt.Sprint(i+1) {
				t.Fatalf("line %d of %s is %q", i+1, id, line)
			}
		}
	}
}

// TestUpgradeDuringExits replaces the supervisor again and again while containers begin and end: each exit is told once
// and with its own code. The containers come until there were enough upgrades, however fast either is.
func TestUpgradeDuringExits(t *testing.T) {
	n := newNode(t)
	const lanes, each, wanted = 4, 25, 4
	var upgrades atomic.Int32
	group, ctx := errgroup.WithContext(t.Context())
	for lane := range lanes {
		group.Go(func() error {
			for i := 0; i < each || upgrades.Load() < wanted && ctx.Err() == nil; i++ {
				id, code := fmt.Sprintf("c%d-%d", lane, i), (lane*each+i)%120+1
				_, err := n.client.Create(n.ctx(), CreateRequest{
					ID: id, Spec: n.spec(id, "sh", "-c", fmt.Sprintf("echo x; exit %d", code)), Rootfs: n.overlay(id), Log: LogOptions{Path: n.logPath(id)}, Start: true,
				})
				if err != nil {
					return fmt.Errorf("creating %s: %w", id, err)
				}
				exit, err := n.client.Wait(n.ctx(), id)
				if err != nil || exit.Code != code || exit.Unknown {
					return fmt.Errorf("exit of %s: %+v, %w; want %d", id, exit, err, code)
				}
				if data, err := os.ReadFile(n.logPath(id)); err != nil || logText(t, data) != "x\n" {
					return fmt.Errorf("log of %s: %q, %w", id, data, err)
				}
				if err := n.client.Delete(n.ctx(), id, false); err != nil {
					return fmt.Errorf("deleting %s: %w", id, err)
				}
			}
			return nil
		})
	}
	done := make(chan error, 1)
	go func() { done <- group.Wait() }()
	for {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
		exe, err := os.Open("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		if err := n.client.Upgrade(n.ctx(), exe); err != nil {
			t.Errorf("upgrade %d: %v", upgrades.Load(), err)
		}
		upgrades.Add(1)
		exe.Close()
	}
}
