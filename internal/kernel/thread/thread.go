// Package thread gives work that changes a thread, such as entering a namespace, a thread of its own.
package thread

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Apart runs f on a thread that ends with it, so that nothing else ever finds itself in the namespaces that f entered,
// or with other marks that it left. f may undo what it did and call runtime.UnlockOSThread: then the thread lives on.
//
// It is never the process's first thread. That one cannot end in a Go program, and is the one which /proc/PID shows:
// it waits for another.
func Apart[T any](f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			v, err := Apart(f)
			runtime.UnlockOSThread()
			done <- result{v, err}
			return
		}
		v, err := f()
		done <- result{v, err}
	}()
	r := <-done
	return r.value, r.err
}
