package podspec

import (
	"cmp"
	"maps"
	"slices"
)

// sorted are a map's keys in order, so that errors come in the same order each
// time.
func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
