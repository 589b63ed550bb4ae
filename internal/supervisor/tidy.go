package supervisor

import (
	"reflect"
	"runtime/debug"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const (
	// quiet is how long nothing was created before memory goes back to the kernel.
	quiet = 2 * time.Second
	// maxProfiles bounds the system call profiles that are shared.
	maxProfiles = 8
)

// tidy keeps the supervisor small: a specification is mostly its system call
// profile, some 40 KiB, and almost all containers have one of very few.
type tidy struct {
	mu       sync.Mutex
	timer    *time.Timer
	profiles []*specs.LinuxSeccomp
}

// share replaces the specification's profile by an equal one that another
// container has already.
func (t *tidy) share(spec *specs.Spec) {
	if spec.Linux == nil || spec.Linux.Seccomp == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.profiles {
		if reflect.DeepEqual(p, spec.Linux.Seccomp) {
			spec.Linux.Seccomp = p
			return
		}
	}
	t.profiles = append(t.profiles, spec.Linux.Seccomp)
	if len(t.profiles) > maxProfiles {
		t.profiles = t.profiles[1:]
	}
}

// later gives memory back once it is quiet.
func (t *tidy) later() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer == nil {
		t.timer = time.AfterFunc(quiet, debug.FreeOSMemory)
		return
	}
	t.timer.Reset(quiet)
}
