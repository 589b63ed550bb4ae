package container

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A file with two names takes its room once.
func TestDiskUsageOfLinks(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	bytes, inodes := diskUsage(dir, time.Time{})
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	if b, i := diskUsage(dir, time.Time{}); b != bytes || i != inodes || i != 2 || b < 1<<20 {
		t.Errorf("%d bytes in %d inodes with one name, %d in %d with two", bytes, inodes, b, i)
	}
}
