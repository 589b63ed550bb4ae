package reconcile_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.skiff.dev/skiff/internal/reconcile"
)

// start runs a loop inside of a synctest bubble and returns its stop.
func start[K comparable](t *testing.T, l *reconcile.Loop[K]) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestOneRunPerKeyAndOneMoreAfterAnAddDuringIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, runs atomic.Int32
		release := make(chan struct{})
		l := reconcile.New(reconcile.Options[string]{Name: "t", Reconcile: func(context.Context, string) (reconcile.Result, error) {
			if running.Add(1) > 1 {
				t.Error("two runs of one key at once")
			}
			runs.Add(1)
			<-release
			running.Add(-1)
			return reconcile.Result{}, nil
		}})
		for range 5 {
			l.Add("a") // before Run: kept, and merged
		}
		start(t, l)
		synctest.Wait()
		l.Add("a")
		l.Add("a")
		synctest.Wait()
		if runs.Load() != 1 {
			t.Fatalf("%d runs while the first is under way", runs.Load())
		}
		close(release)
		synctest.Wait()
		if runs.Load() != 2 {
			t.Fatalf("%d runs, want one more for the adds during the first", runs.Load())
		}
	})
}

func TestBackoffGrowsAndAnEventCutsItShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var times []time.Time
		fail := true
		l := reconcile.New(reconcile.Options[int]{
			Name: "t", MinBackoff: time.Second, MaxBackoff: 8 * time.Second,
			Reconcile: func(context.Context, int) (reconcile.Result, error) {
				times = append(times, time.Now())
				if fail {
					return reconcile.Result{}, errors.New("no")
				}
				return reconcile.Result{}, nil
			}})
		l.Add(1)
		start(t, l)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		for i := 1; i < len(times); i++ {
			least := min(time.Second<<(i-1), 8*time.Second)
			if gap := times[i].Sub(times[i-1]); gap < least || gap > least*5/4 {
				t.Errorf("gap %d is %s, want %s and up to a quarter more", i, gap, least)
			}
		}
		before := len(times)
		fail = false
		l.Add(1)
		synctest.Wait()
		if len(times) != before+1 {
			t.Fatalf("an event did not cut the backoff short")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(times) != before+1 {
			t.Fatalf("%d runs after a success, want none", len(times)-before-1)
		}
	})
}

func TestPanicIsTheKeysFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var good, bad atomic.Int32
		l := reconcile.New(reconcile.Options[string]{Name: "t", Reconcile: func(_ context.Context, k string) (reconcile.Result, error) {
			if k == "bad" && bad.Add(1) < 3 {
				panic("boom")
			}
			if k == "good" {
				good.Add(1)
			}
			return reconcile.Result{}, nil
		}})
		l.Add("bad")
		l.Add("good")
		start(t, l)
		time.Sleep(time.Second)
		synctest.Wait()
		if good.Load() != 1 || bad.Load() != 3 {
			t.Fatalf("good ran %d times, bad %d; want 1 and 3", good.Load(), bad.Load())
		}
	})
}

func TestSpacingAnswersTheFirstEventAtOnceAndGathersTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var times []time.Duration
		began := time.Now()
		l := reconcile.New(reconcile.Options[int]{Name: "t", Spacing: 20 * time.Millisecond,
			Reconcile: func(context.Context, int) (reconcile.Result, error) {
				times = append(times, time.Since(began))
				return reconcile.Result{}, nil
			}})
		start(t, l)
		for range 100 {
			l.Add(1)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(times) != 6 || times[0] != 0 {
			t.Fatalf("runs at %v, want 6, the first at once", times)
		}
	})
}

func TestTheLastRunDecidesAboutAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		after := 10 * time.Second
		var runs int
		l := reconcile.New(reconcile.Options[int]{Name: "t", Reconcile: func(context.Context, int) (reconcile.Result, error) {
			runs++
			return reconcile.Result{After: after}, nil
		}})
		l.Add(1)
		start(t, l)
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		if runs != 2 {
			t.Fatalf("%d runs, want the one asked for", runs)
		}
		after = 0
		l.Add(1)
		time.Sleep(time.Minute)
		synctest.Wait()
		if runs != 3 {
			t.Fatalf("%d runs, want the earlier wish cancelled", runs)
		}
	})
}

func TestStopWaitsForRunsInProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := false
		l := reconcile.New(reconcile.Options[int]{Name: "t", Reconcile: func(ctx context.Context, _ int) (reconcile.Result, error) {
			time.Sleep(time.Second)
			ended = ctx.Err() == nil
			return reconcile.Result{}, nil
		}})
		ctx, cancel := context.WithCancel(t.Context())
		l.Add(1)
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-done; err != nil || !ended {
			t.Fatalf("Run returned %v, the run in progress ended well: %v", err, ended)
		}
	})
}

func TestLedger(t *testing.T) {
	now := time.Unix(0, 0)
	l := reconcile.NewLedger[string, int](func() time.Time { return now })
	l.Announce("rs", "a", 1)
	l.Announce("rs", "b", 2)
	if open, wait := l.Open("rs"); len(open) != 2 || wait != 30*time.Second {
		t.Fatalf("open %v for %s", open, wait)
	}
	l.Strike("rs", "a")
	now = now.Add(10 * time.Second)
	if open, wait := l.Open("rs"); len(open) != 1 || open["b"] != 2 || wait != 20*time.Second {
		t.Fatalf("open %v for %s", open, wait)
	}
	now = now.Add(20 * time.Second)
	if open, wait := l.Open("rs"); len(open) != 0 || wait != 0 {
		t.Fatalf("open %v for %s after its time", open, wait)
	}
}
