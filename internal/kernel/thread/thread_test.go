package thread

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestApart does not use the first thread, which cannot end and would stay in the namespaces that f enters.
func TestApart(t *testing.T) {
	seen, wrong := 0, errors.New("as f says")
	for range 200 {
		n, err := Apart(func() (int, error) {
			seen++
			if unix.Gettid() == os.Getpid() {
				return 0, errors.New("on the first thread")
			}
			return seen, wrong
		})
		if n != seen || !errors.Is(err, wrong) {
			t.Fatalf("%d, %v; want %d and %q", n, err, seen, wrong)
		}
	}
}

// TestThreadEnds with the namespaces that f entered.
func TestThreadEnds(t *testing.T) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 20 {
		tid, err := Apart(func() (int, error) { return unix.Gettid(), nil })
		if err != nil {
			t.Fatal(err)
		}
		task := fmt.Sprintf("/proc/self/task/%d", tid)
		for began := time.Now(); ; <-tick.C {
			if _, err := os.Stat(task); errors.Is(err, os.ErrNotExist) {
				break
			}
			if time.Since(began) > time.Minute {
				t.Fatalf("thread %d still lives", tid)
			}
		}
	}
}
