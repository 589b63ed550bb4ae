package oci

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOnThread does not use the first thread, which cannot end and would stay in the namespaces that f enters.
func TestOnThread(t *testing.T) {
	first := 0
	for range 200 {
		_, err := onThread(func() (*child, error) {
			if unix.Gettid() == os.Getpid() {
				first++
			}
			return nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if first > 0 {
		t.Errorf("the first thread was used %d times", first)
	}
}
