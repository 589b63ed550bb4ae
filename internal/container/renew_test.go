package container

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// TestRenewalIsTriedAgain until it is done, or until skiff ends.
func TestRenewalIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Service{log: slog.New(slog.DiscardHandler)}
		began := time.Now()
		var tries []time.Duration
		busy := func(context.Context) (bool, error) {
			tries = append(tries, time.Since(began))
			return len(tries) == 3, map[bool]error{true: errors.New("requests are under way")}[len(tries) < 3]
		}
		s.renewLater(t.Context(), busy)
		if len(tries) != 3 || tries[0] != renewPause || tries[2] != 3*renewPause {
			t.Errorf("tried after %v", tries)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(renewPause/2, cancel)
		s.renewLater(ctx, busy)
		if len(tries) != 3 {
			t.Errorf("tried after the end: %v", tries)
		}
	})
}
