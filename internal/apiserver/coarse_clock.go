package apiserver

import (
	"time"

	"k8s.io/utils/clock"
)

// coarseClock is the real clock with its longer timers moved to full seconds.
//
// Each kind's watch cache wakes about once a second to see whether a bookmark
// is due. With the library's jitter that is one wake-up of the process per kind
// and second; on full seconds all kinds share one.
type coarseClock struct {
	clock.RealClock
}

// coarse is the shortest duration that is moved.
const coarse = 500 * time.Millisecond

// NewTimer implements clock.Clock.
func (c coarseClock) NewTimer(d time.Duration) clock.Timer {
	return coarseTimer{c.RealClock.NewTimer(toFullSecond(time.Now(), d))}
}

type coarseTimer struct {
	clock.Timer
}

// Reset implements clock.Timer.
func (t coarseTimer) Reset(d time.Duration) bool {
	return t.Timer.Reset(toFullSecond(time.Now(), d))
}

// toFullSecond returns the time from now to the full second nearest to now+d.
func toFullSecond(now time.Time, d time.Duration) time.Duration {
	if d < coarse {
		return d
	}
	return max(now.Add(d).Round(time.Second).Sub(now), coarse)
}
