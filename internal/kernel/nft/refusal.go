package nft

import (
	"errors"
	"slices"
)

// refusal says each of the kernel's answers once: when it refuses a
// transaction, it answers each message of it, mostly for one and the same
// reason.
func refusal(err error) error {
	type several interface{ Unwrap() []error }
	list := err
	if inner, ok := errors.Unwrap(err).(several); ok {
		list = inner.(error)
	}
	var said []error
	var walk func(error)
	walk = func(e error) {
		if s, ok := e.(several); ok {
			for _, inner := range s.Unwrap() {
				walk(inner)
			}
			return
		}
		if !slices.ContainsFunc(said, func(old error) bool { return old.Error() == e.Error() }) {
			said = append(said, e)
		}
	}
	walk(list)
	if len(said) == 1 {
		return said[0]
	}
	return errors.Join(said...)
}
