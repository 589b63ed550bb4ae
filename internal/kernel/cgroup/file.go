package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// write puts v into a file in one write, as cgroupfs wants it. A short write is impossible there.
func write(dir, file, v string) error {
	p := filepath.Join(dir, file)
	fd, err := unix.Open(p, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", p, err)
	}
	defer unix.Close(fd)
	for {
		_, err := unix.Write(fd, []byte(v))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("writing %q to %s: %w", v, p, err)
		}
		return nil
	}
}

// read returns a whole file, without the last newline.
func read(dir, file string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	return strings.TrimSuffix(string(b), "\n"), err
}

// number reads a file with one number; "max" is 0, as are all numbers at v1's idea of infinity.
func number(dir, file string) uint64 {
	s, err := read(dir, file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n >= 1<<63-1<<16 {
		return 0
	}
	return n
}

// table reads a file of "key value" lines.
func table(dir, file string) map[string]uint64 {
	s, err := read(dir, file)
	if err != nil {
		return nil
	}
	m := map[string]uint64{}
	for line := range strings.Lines(s) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(v, 10, 64); err == nil {
			m[k] = n
		}
	}
	return m
}

func openWrite(dir, file string) (int, error) {
	p := filepath.Join(dir, file)
	fd, err := unix.Open(p, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening %s: %w", p, err)
	}
	return fd, nil
}
