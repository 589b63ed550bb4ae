//go:build linux

// Package openat opens paths that nobody trusts, by openat2 (Linux 5.6).
package openat

import "golang.org/x/sys/unix"

// tries is far more than a machine full of renames has ever needed.
const tries = 1000

// Open is openat2(2), tried again where the kernel asks for it: a signal came (EINTR), or something was renamed or
// mounted anywhere on the machine while a ".." was followed (EAGAIN, with RESOLVE_BENEATH and RESOLVE_IN_ROOT).
func Open(dir int, name string, how *unix.OpenHow) (fd int, err error) {
	for range tries {
		fd, err = unix.Openat2(dir, name, how)
		if err != unix.EAGAIN && err != unix.EINTR {
			break
		}
	}
	return fd, err
}
