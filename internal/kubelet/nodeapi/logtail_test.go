package nodeapi

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLogTail: the end of any file, within its limits.
func FuzzLogTail(f *testing.F) {
	f.Add([]byte("2026-11-20T10:00:00.000000001Z stdout F one\n2026-11-20T10:00:00.000000002Z stderr P two\n"), 80, 10)
	f.Add([]byte("x\n\n   \n2026-11-20T10:00:00.000000001Z stdout F"), 5, 1)
	f.Fuzz(func(t *testing.T, data []byte, limit, lines int) {
		limit, lines = limit&0xfff, lines&0xff
		path := filepath.Join(t.TempDir(), "0.log")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := LogTail(path, limit, lines); len(got) > limit || strings.Count(got, "\n") > lines {
			t.Errorf("%d bytes, %d lines; limits %d and %d", len(got), strings.Count(got, "\n"), limit, lines)
		}
	})
}
