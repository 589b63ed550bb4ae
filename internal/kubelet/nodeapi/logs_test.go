package nodeapi

import (
	"bytes"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const sample = `2026-11-20T10:00:00.000000001Z stdout F one
2026-11-20T10:00:01.5Z stderr F two
2026-11-20T10:00:02.000000001Z stdout P three, 
2026-11-20T10:00:02.000000002Z stdout F still three
2026-11-20T10:00:03.000000001Z stdout F 
no log line
2026-11-20T10:00:04.000000001Z stdout F five
`

func writeLog(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStreamLog(t *testing.T) {
	all := LogOptions{Tail: -1, Limit: -1}
	for name, c := range map[string]struct {
		change func(*LogOptions)
		want   string
	}{
		"all":              {func(*LogOptions) {}, "one\ntwo\nthree, still three\n\nfive\n"},
		"tail":             {func(o *LogOptions) { o.Tail = 1 }, "five\n"},
		"tail 0":           {func(o *LogOptions) { o.Tail = 0 }, ""},
		"long tail":        {func(o *LogOptions) { o.Tail = 99 }, "one\ntwo\nthree, still three\n\nfive\n"},
		"limit":            {func(o *LogOptions) { o.Limit = 5 }, "one\nt"},
		"stderr":           {func(o *LogOptions) { o.Stream = "stderr" }, "two\n"},
		"since":            {func(o *LogOptions) { o.Since = time.Date(2026, 11, 20, 10, 0, 3, 0, time.UTC) }, "\nfive\n"},
		"fixed timestamps": {func(o *LogOptions) { o.Timestamps, o.Stream = true, "stderr" }, "2026-11-20T10:00:01.500000000Z two\n"},
		"timestamps":       {func(o *LogOptions) { o.Timestamps, o.Tail = true, 1 }, "2026-11-20T10:00:04.000000001Z five\n"},
	} {
		t.Run(name, func(t *testing.T) {
			o := all
			c.change(&o)
			var out bytes.Buffer
			if err := StreamLog(t.Context(), &out, writeLog(t, sample), o, nil); err != nil {
				t.Fatal(err)
			}
			if out.String() != c.want {
				t.Errorf("%q, want %q", out.String(), c.want)
			}
		})
	}
}

// TestLogIsNoLink: containerd's CVE-2026-53489. A pod that has the directory of logs for a volume may put anything there;
// the node's own files are not read for it, and a pipe does not hold the reader.
func TestLogIsNoLink(t *testing.T) {
	top := t.TempDir()
	secret := filepath.Join(top, "secret")
	if err := os.WriteFile(secret, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, plant := range map[string]func(pod string) error{
		"log is a link":       func(pod string) error { return os.Symlink(secret, filepath.Join(pod, "app/0.log")) },
		"log is a short link": func(pod string) error { return os.Symlink("../../secret", filepath.Join(pod, "app/0.log")) },
		"log is a pipe":       func(pod string) error { return syscall.Mkfifo(filepath.Join(pod, "app/0.log"), 0o600) },
		"log is a directory":  func(pod string) error { return os.Mkdir(filepath.Join(pod, "app/0.log"), 0o700) },
		"container is a link": func(pod string) error {
			if err := os.Rename(secret, filepath.Join(top, "0.log")); err != nil {
				return err
			}
			if err := os.Remove(filepath.Join(pod, "app")); err != nil {
				return err
			}
			return os.Symlink(top, filepath.Join(pod, "app"))
		},
	} {
		pod := filepath.Join(top, "logs", strings.ReplaceAll(name, " ", "-"))
		if err := errors.Join(os.MkdirAll(filepath.Join(pod, "app"), 0o755), plant(pod)); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err := StreamLog(t.Context(), &out, filepath.Join(pod, "app/0.log"), LogOptions{Tail: -1, Limit: -1}, nil)
		if err == nil || out.Len() > 0 {
			t.Errorf("%s: read %q, %v", name, out.String(), err)
		}
		_ = os.Rename(filepath.Join(top, "0.log"), secret) // only one case moved it
	}
}

// TestRotatedLogIsNoLink: neither is what takes a log's place while it is followed.
func TestRotatedLogIsNoLink(t *testing.T) {
	path := writeLog(t, sample)
	secret := writeLog(t, "2026-11-20T10:00:09Z stdout F secret\n")
	out := &shared{more: make(chan struct{}, 1)}
	done := make(chan error, 1)
	go func() {
		done <- StreamLog(t.Context(), out, path, LogOptions{Follow: true, Tail: 1, Limit: -1}, make(chan struct{}))
	}()
	out.await(t, "five\n")
	if err := errors.Join(os.Symlink(secret, path+".new"), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil || strings.Contains(out.buf.String(), "secret") {
		t.Errorf("%v; read %q", err, out.buf.String())
	}
}

// shared is a buffer that tells when it has a text.
type shared struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	more chan struct{}
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf.Write(p)
	select {
	case s.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (s *shared) await(t *testing.T, text string) {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		s.mu.Lock()
		have := s.buf.String()
		s.mu.Unlock()
		if strings.HasSuffix(have, text) {
			return
		}
		select {
		case <-s.more:
		case <-timeout:
			t.Fatalf("%q does not end in %q", have, text)
		}
	}
}

func TestFollowThroughRotationToTheEnd(t *testing.T) {
	path := writeLog(t, sample)
	out := &shared{more: make(chan struct{}, 1)}
	ended := make(chan struct{})
	done := make(chan error, 1)
	go func() { done <- StreamLog(t.Context(), out, path, LogOptions{Follow: true, Tail: 1, Limit: -1}, ended) }()
	out.await(t, "five\n")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	add := func(text string) {
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	add("2026-11-20T10:00:05Z stdout F si")
	add("x\n")
	out.await(t, "six\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	add("2026-11-20T10:00:06Z stdout F seven\n") // the writer had not noticed
	_ = f.Close()
	if err := os.WriteFile(path, []byte("2026-11-20T10:00:07Z stdout F eight\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out.await(t, "seven\neight\n")
	f, err = os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	add("2026-11-20T10:00:08Z stdout F last\n")
	close(ended)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	out.await(t, "last\n")
	_ = f.Close()
}

func TestParseLogOptions(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	o, err := parseLogOptions(url.Values{"follow": {"true"}, "tailLines": {"3"}, "sinceSeconds": {"60"}, "limitBytes": {"9"}, "stream": {"Stderr"}}, now)
	if err != nil || !o.Follow || o.Tail != 3 || o.Limit != 9 || !o.Since.Equal(now.Add(-time.Minute)) || o.Stream != "stderr" {
		t.Errorf("%+v %v", o, err)
	}
	for _, bad := range []string{"tailLines=-1", "tailLines=x", "limitBytes=0", "sinceSeconds=0", "sinceTime=yesterday", "stream=both"} {
		q, err := url.ParseQuery(bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseLogOptions(q, now); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}
