package apiserver

import (
	"testing"
	"time"
)

func TestToFullSecond(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(1_700_000_000_000 + int64(ms)) }
	tests := []struct{ now, d, want int }{
		{0, 1000, 1000},
		{0, 1200, 1000},
		{100, 1200, 900},
		{400, 1200, 1600},
		{0, 100, 100},
		{900, 1100, 1100},
		{0, 500, 1000},
		{700, 600, 500},
	}
	for _, test := range tests {
		got := toFullSecond(at(test.now), time.Duration(test.d)*time.Millisecond)
		if got != time.Duration(test.want)*time.Millisecond {
			t.Errorf("at %d ms, %d ms: got %s, want %d ms", test.now, test.d, got, test.want)
		}
	}
}
