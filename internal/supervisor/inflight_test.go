package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestInflight lets a supervisor die at each point of a chunk's way into the log. The next one goes on so that every
// line is there once.
func TestInflight(t *testing.T) {
	type way struct {
		flight *inflight
		log    *logFile
		fd     int
		buf    []byte
	}
	write := func(w *way) int {
		n, err := w.flight.peek(w.fd, w.buf)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		w.flight.writing("c/stdout", w.buf[:n], w.log.inode(), w.log.size)
		return n
	}
	for name, die := range map[string]func(w *way){
		"before":        func(w *way) {},
		"after peeking": func(w *way) { _, _ = w.flight.peek(w.fd, w.buf) },
		"not written":   func(w *way) { write(w) },
		"half written": func(w *way) {
			n := write(w)
			w.log.write("stdout", w.buf[:n/2], time.Now(), nil)
		},
		"written, not said": func(w *way) {
			n := write(w)
			w.log.write("stdout", w.buf[:n], time.Now(), nil)
		},
		"written and rotated": func(w *way) {
			n := write(w)
			w.log.opts.MaxSize = 1
			w.log.write("stdout", w.buf[:n], time.Now(), nil)
		},
		"half written and renamed": func(w *way) {
			n := write(w)
			w.log.write("stdout", w.buf[:n/2], time.Now(), nil)
			if err := os.Rename(w.log.opts.Path, w.log.opts.Path+".1"); err != nil {
				t.Fatal(err)
			}
		},
		"said, not taken": func(w *way) {
			n := write(w)
			w.log.write("stdout", w.buf[:n], time.Now(), nil)
			*w.flight.state() = stateWritten
		},
		"taken, not said": func(w *way) {
			n := write(w)
			w.log.write("stdout", w.buf[:n], time.Now(), nil)
			if err := w.flight.take(w.fd, n); err != nil {
				t.Fatal(err)
			}
			*w.flight.state() = stateWritten
		},
		"done": func(w *way) {
			n := write(w)
			w.log.write("stdout", w.buf[:n], time.Now(), nil)
			if err := w.flight.take(w.fd, n); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var p [2]int
			if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
				t.Fatal(err)
			}
			defer unix.Close(p[0])
			defer unix.Close(p[1])
			open := func() *way {
				left, err := leftInflight(dir)
				if err != nil {
					t.Fatal(err)
				}
				flight := left["c"]
				if flight == nil {
					if flight, err = openInflight(dir); err != nil {
						t.Fatal(err)
					}
				}
				log, err := openLog(LogOptions{Path: filepath.Join(dir, "0.log")})
				if err != nil {
					t.Fatal(err)
				}
				return &way{flight, log, p[0], make([]byte, chunk)}
			}
			line := 0
			put := func(n int) {
				for range n {
					line++
					if _, err := unix.Write(p[1], fmt.Appendf(nil, "line %d\n", line)); err != nil {
						t.Fatal(err)
					}
				}
			}
			put(100)
			die(open())
			put(50)
			next := open()
			if id, stream := next.flight.owner(); id != "" {
				if id != "c" || stream != "stdout" {
					t.Errorf("owner %s/%s", id, stream)
				}
				if err := next.flight.settle(next.fd, next.log); err != nil {
					t.Fatal(err)
				}
			}
			if id, _ := next.flight.owner(); id != "" {
				t.Error("it is still on its way")
			}
			me := &writer{in: next.buf, flight: next.flight}
			out := &output{fd: next.fd, name: "c/stdout", stream: "stdout", log: next.log}
			for {
				if n, err := out.read(me); n <= 0 || err != nil {
					break
				}
			}
			want := ""
			for i := 1; i <= line; i++ {
				want += fmt.Sprintf("line %d\n", i)
			}
			if got := logLines(t, dir); got != want {
				t.Errorf("%d lines of %d, or not the same ones", strings.Count(got, "\n"), line)
			}
		})
	}
}

// logLines joins the log files of dir, oldest first, without what the log adds. "P" entries are joined.
func logLines(t *testing.T, dir string) string {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join(dir, "0.log.*"))
	var text strings.Builder
	for _, name := range append(names, filepath.Join(dir, "0.log")) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(data)
	}
	joined := regexp.MustCompile(`(?m)^\S+ stdout P (.*)\n`).ReplaceAllString(text.String(), "$1")
	return regexp.MustCompile(`(?m)\S+ stdout F `).ReplaceAllString(joined, "")
}

// TestInflightOfWhatTheContainerReads: a container that reads its own output leaves nothing that a next supervisor would
// take from what it writes later.
func TestInflightOfWhatTheContainerReads(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	f, err := openInflight(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if _, err := unix.Write(p[1], []byte("line\n")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, err := f.peek(p[0], buf)
	if err != nil || n != 5 {
		t.Fatal(n, err)
	}
	f.writing("c/stdout", buf[:n], 1, 0)
	if n, err := unix.Read(p[0], buf[:2]); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if err := f.take(p[0], n); err == nil {
		t.Error("all of it was there")
	}
	if id, _ := f.owner(); id != "" {
		t.Errorf("a chunk of %q is on its way", id)
	}
}
