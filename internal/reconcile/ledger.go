package reconcile

import (
	"sync"
	"time"
)

// ledgerLife is how long an announced write is believed without having been
// seen. It only matters when the object came and went while the watch was
// broken, so that no event about it ever arrives.
const ledgerLife = 30 * time.Second

// Ledger remembers the writes of a controller that its cache does not show yet,
// so that a run never acts twice on a stale cache. A write is announced before
// it is sent, and struck out by the event that shows it, or when it failed.
//
// Upstream counts expected events; the ledger names the objects instead, so
// that a run can go on with "cache plus ledger" as the truth and need not wait.
type Ledger[K comparable, V any] struct {
	now  func() time.Time
	mu   sync.Mutex
	open map[K]map[string]announced[V]
}

type announced[V any] struct {
	value V
	at    time.Time
}

// NewLedger returns an empty ledger.
func NewLedger[K comparable, V any](now func() time.Time) *Ledger[K, V] {
	return &Ledger[K, V]{now: now, open: map[K]map[string]announced[V]{}}
}

// Announce notes that the key's controller is about to write the object with
// the identity (a name for a creation, a uid for a deletion).
func (l *Ledger[K, V]) Announce(key K, identity string, value V) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[key] == nil {
		l.open[key] = map[string]announced[V]{}
	}
	l.open[key][identity] = announced[V]{value, l.now()}
}

// Strike forgets one write: it was seen, or it failed.
func (l *Ledger[K, V]) Strike(key K, identity string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open[key], identity)
	if len(l.open[key]) == 0 {
		delete(l.open, key)
	}
}

// Forget drops all of a key's writes.
func (l *Ledger[K, V]) Forget(key K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, key)
}

// Open returns the key's writes that have not been seen, by identity, and how
// long until the oldest of them is no longer believed (zero if there is none).
func (l *Ledger[K, V]) Open(key K) (map[string]V, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open[key]) == 0 {
		return nil, 0
	}
	now := l.now()
	list := make(map[string]V, len(l.open[key]))
	var wait time.Duration
	for identity, a := range l.open[key] {
		left := ledgerLife - now.Sub(a.at)
		if left <= 0 {
			delete(l.open[key], identity)
			continue
		}
		list[identity] = a.value
		if wait == 0 || left < wait {
			wait = left
		}
	}
	return list, wait
}
