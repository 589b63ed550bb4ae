package kubelet

import (
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
)

// TestWhatMayWait: a status waits for the next one if that is likely to make it void.
func TestWhatMayWait(t *testing.T) {
	pod := podOfNames(v1.RestartPolicyAlways, "s", "a", "b")
	status := func(change func(*statusInput), records ...string) *v1.PodStatus {
		s := statusFor(pod, viewOf(true, records...), change)
		return &s
	}
	replaced := func(in *statusInput) { in.Memory["a"] = containerMemory{Resized: "id-a"} }
	runs := status(nil, "s:run", "a:run", "b:run")
	for name, c := range map[string]struct {
		have, want *v1.PodStatus
		deleted    bool
		waits      time.Duration
	}{
		"on its way":                         {have: status(nil), want: status(nil, "s:new"), waits: settle},
		"it runs":                            {have: status(nil), want: runs},
		"one is replaced":                    {have: runs, want: status(replaced, "s:run", "a:ok", "b:run"), waits: exchange},
		"its successor is made":              {have: runs, want: status(nil, "s:run", "a:ok", "a:new:1", "b:run"), waits: exchange},
		"its successor runs":                 {have: runs, want: status(nil, "s:run", "a:ok", "a:run:1", "b:run")},
		"one is replaced and another failed": {have: runs, want: status(replaced, "s:run", "a:ok", "b:1")},
		"one failed":                         {have: runs, want: status(nil, "s:run", "a:1", "b:run")},
		"a sidecar failed":                   {have: runs, want: status(nil, "s:1", "a:run", "b:run")},
		"nothing is new":                     {have: runs, want: runs},
		"it is ending":                       {have: runs, want: status(nil, "s:run", "a:1", "b:run"), deleted: true, waits: settle},
	} {
		t.Run(name, func(t *testing.T) {
			if got := passing(c.have, c.want, c.deleted); got != c.waits {
				t.Errorf("waits: %s", got)
			}
		})
	}
}
