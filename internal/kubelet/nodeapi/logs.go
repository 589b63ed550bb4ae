package nodeapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/fsnotify/fsnotify"

	"go.skiff.dev/skiff/internal/kernel/rootfd"
)

// LogOptions say what is wanted of a log.
type LogOptions struct {
	Follow, Timestamps bool
	// Since leaves out older lines; zero: none.
	Since time.Time
	// Tail is the number of last lines; negative: all.
	Tail int64
	// Limit is the most bytes to write; negative: no limit.
	Limit int64
	// Stream is stdout, stderr, or empty for both.
	Stream string
}

// logs serves a container's log.
func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	pod := s.target(w, r)
	if pod == nil {
		return
	}
	name := r.PathValue("container")
	if !hasContainer(pod, name) {
		http.Error(w, fmt.Sprintf("container %q not found in pod %q", name, pod.Name), http.StatusNotFound)
		return
	}
	query := r.URL.Query()
	options, err := parseLogOptions(query, time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	path, ended, release, err := s.deps.Pods.Log(r.Context(), pod, name, isTrue(query.Get("previous")))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	defer release()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	out := io.Writer(w)
	if options.Follow {
		out = flusher{w, http.NewResponseController(w)}
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush() // the client waits for the header
	}
	if err := StreamLog(r.Context(), out, path, options, ended); err != nil && r.Context().Err() == nil {
		fmt.Fprintf(out, "%v\n", err)
	}
}

// OpenLog opens a container's log, which is POD/CONTAINER/N.log below the directory of logs. A pod may have been given
// that directory as a volume, so nothing below it may be a link, or anything but a file.
func OpenLog(path string) (*os.File, error) {
	container, file := filepath.Split(path)
	pod, container := filepath.Split(filepath.Clean(container))
	dir, pod := filepath.Split(filepath.Clean(pod))
	f, err := rootfd.OpenRegular(dir, filepath.Join(pod, container, file))
	if err != nil {
		return nil, fmt.Errorf("opening log: %w", err)
	}
	return f, nil
}

// flusher sends each line as it comes.
type flusher struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (f flusher) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	if err != nil {
		return n, err
	}
	return n, f.control.Flush()
}

func isTrue(s string) bool {
	b, err := strconv.ParseBool(s)
	return err == nil && b
}

func parseLogOptions(q url.Values, now time.Time) (LogOptions, error) {
	o := LogOptions{Follow: isTrue(q.Get("follow")), Timestamps: isTrue(q.Get("timestamps")), Tail: -1, Limit: -1}
	number := func(name string, least int64, into *int64) error {
		text := q.Get(name)
		if text == "" {
			return nil
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < least {
			return fmt.Errorf("%s: invalid value %q: must be a number of at least %d", name, text, least)
		}
		*into = n
		return nil
	}
	seconds := int64(-1)
	err := errors.Join(number("tailLines", 0, &o.Tail), number("limitBytes", 1, &o.Limit), number("sinceSeconds", 1, &seconds))
	if err != nil {
		return o, err
	}
	if seconds > 0 {
		o.Since = now.Add(-time.Duration(seconds) * time.Second)
	}
	if text := q.Get("sinceTime"); text != "" {
		if o.Since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return o, fmt.Errorf("sinceTime: invalid value %q: must be a time as RFC 3339 writes it", text)
		}
	}
	switch stream := q.Get("stream"); stream {
	case "", "All":
	case "Stdout":
		o.Stream = "stdout"
	case "Stderr":
		o.Stream = "stderr"
	default:
		return o, fmt.Errorf("stream: invalid value %q: must be All, Stdout or Stderr", stream)
	}
	return o, nil
}

// StreamLog writes a log in the CRI's format as plain text. With Follow it goes
// on as lines are appended, through rotations of the file, until the container
// has ended and all is written, or ctx ends. It waits for the kernel's word
// (inotify), never for a timer.
func StreamLog(ctx context.Context, w io.Writer, path string, o LogOptions, ended <-chan struct{}) error {
	var changed <-chan fsnotify.Event
	if o.Follow {
		watcher, err := fsnotify.NewWatcher()
		if err != nil {
			return fmt.Errorf("watching log: %w", err)
		}
		defer watcher.Close()
		// The directory, not the file: it also tells of rotations.
		if err := watcher.Add(filepath.Dir(path)); err != nil {
			return fmt.Errorf("watching log: %w", err)
		}
		changed = watcher.Events
	}
	f, err := OpenLog(path)
	if err != nil {
		return err
	}
	r := &logReader{file: f, path: path, options: o, out: w}
	defer r.close()
	if err := r.seek(); err != nil {
		return err
	}
	for {
		if err := r.drain(); err != nil || !o.Follow || r.full() {
			return err
		}
		if ended == nil {
			return nil // it had ended before everything was read
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
			if err := r.followRotation(); err != nil {
				return err
			}
		case <-ended:
			ended = nil // read what came between
			if err := r.followRotation(); err != nil {
				return err
			}
		}
	}
}
