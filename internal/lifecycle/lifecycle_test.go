package lifecycle

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestGroupStartsByNeedsAndStopsInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var events []string
		note := func(s string) { mu.Lock(); events = append(events, s); mu.Unlock() }
		part := func(name string, needs ...string) Component {
			return Component{Name: name, Needs: needs, Run: func(ctx context.Context, ready func()) error {
				note("start " + name)
				time.Sleep(time.Second)
				ready()
				<-ctx.Done()
				note("stop " + name)
				return ctx.Err()
			}}
		}
		g := Group{Components: []Component{part("c", "b"), part("a"), part("b", "a")}}
		ctx, cancel := context.WithCancel(t.Context())
		var stages []Stage
		err := g.Run(ctx, func(s []Stage) { stages = s; cancel() })
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"start a", "start b", "start c", "stop c", "stop b", "stop a"}
		if !slices.Equal(events, want) {
			t.Errorf("events %q, want %q", events, want)
		}
		if len(stages) != 3 || stages[2].Name != "c" || stages[2].Start != 2*time.Second || stages[2].Ready != 3*time.Second {
			t.Errorf("stages %+v", stages)
		}
	})
}

func TestGroupReportsFailureAndWhoIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		boom := errors.New("boom")
		g := Group{Components: []Component{
			{Name: "stuck", Run: func(_ context.Context, ready func()) error { ready(); <-release; return nil }},
			{Name: "bad", Needs: []string{"stuck"}, Run: func(context.Context, func()) error { return boom }},
		}}
		err := g.Run(t.Context(), func([]Stage) { t.Error("a group with a failed part is not ready") })
		close(release)
		if !errors.Is(err, boom) || !strings.Contains(err.Error(), "bad: boom") || !strings.Contains(err.Error(), "stopping stuck") {
			t.Errorf("error %v", err)
		}
		synctest.Wait()
	})
}

func TestOrderRefusesWrongGraphs(t *testing.T) {
	for name, c := range map[string]struct {
		parts []Component
		want  string
	}{
		"twice":   {[]Component{{Name: "a"}, {Name: "a"}}, "listed twice"},
		"unknown": {[]Component{{Name: "a", Needs: []string{"x"}}}, `needs "x"`},
		"circle":  {[]Component{{Name: "a", Needs: []string{"b"}}, {Name: "b", Needs: []string{"a"}}}, "circle: a, b"},
	} {
		t.Run(name, func(t *testing.T) {
			g := Group{Components: c.parts}
			if err := g.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
