package nodeapi

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// FuzzLog: any file is read to its end; what is shown is within the limit, and the last lines are the end of all.
func FuzzLog(f *testing.F) {
	f.Add([]byte(sample), int64(2), int64(-1), false)
	f.Add([]byte("2026-11-20T10:00:00Z stdout P half"), int64(1), int64(3), true)
	f.Add([]byte("\n\n \n  \n   \nx stdout F\nx stderr P \nx stdout :: y\n"), int64(-1), int64(0), true)
	f.Add(bytes.Repeat([]byte("x stdout P y\n"), 3000), int64(7), int64(100), false)
	f.Fuzz(func(t *testing.T, data []byte, tail, limit int64, stamps bool) {
		path := filepath.Join(t.TempDir(), "0.log")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		read := func(o LogOptions) []byte {
			var out bytes.Buffer
			if err := StreamLog(t.Context(), &out, path, o, nil); err != nil {
				t.Fatal(err)
			}
			return out.Bytes()
		}
		if got := read(LogOptions{Tail: tail, Limit: limit, Timestamps: stamps, Since: time.Unix(0, 0)}); limit >= 0 && int64(len(got)) > limit {
			t.Errorf("%d bytes, at most %d were wanted", len(got), limit)
		}
		all := read(LogOptions{Tail: -1, Limit: -1})
		if got := read(LogOptions{Tail: max(tail, 0), Limit: -1}); !bytes.HasSuffix(all, got) {
			t.Errorf("the last %d lines are %q, all are %q", tail, got, all)
		}
	})
}
