// Package imageapi serves an image store on the daemon's control socket, and
// has the client for it that `skiff image` uses.
//
//	POST   /images/import?name=N&platform=OS/ARCH   body: an archive
//	POST   /images/import?path=P&dir=1              a file or directory of this machine
//	POST   /images/pull?ref=R&platform=P            body: pullRequest
//	GET    /images                                  a list of images
//	GET    /images/inspect?ref=R                    all that is known of one image
//	GET    /images/save?ref=R&ref=R                 answers with an archive
//	POST   /images/tag?ref=R&name=N
//	DELETE /images?ref=R
//	POST   /images/prune?nameless=1&unusedFor=24h
//
// Import and pull answer with JSON lines: one Line per event, the last one with
// the images or the error. The socket is root's alone, which is what lets a
// client name a path.
package imageapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"go.skiff.dev/skiff/internal/image"
)

// Line is one line of an answer to import and pull.
type Line struct {
	Event  *image.Event  `json:"event,omitempty"`
	Images []image.Image `json:"images,omitempty"`
	Error  string        `json:"error,omitempty"`
	// Done marks the last line; an answer without it was cut off.
	Done bool `json:"done,omitempty"`
}

// pullRequest is the body of a pull.
type pullRequest struct {
	Auth               image.Auth `json:"auth"`
	Secrets            [][]byte   `json:"secrets,omitempty"`
	PlainHTTP          bool       `json:"plainHTTP,omitempty"`
	InsecureSkipVerify bool       `json:"insecureSkipVerify,omitempty"`
}

// Pruned is what a prune removed; Freed is in bytes.
type Pruned struct {
	Removed []image.Image `json:"removed"`
	Freed   int64         `json:"freed"`
}

// New returns the handler; its paths start with "/images".
func New(s *image.Store) http.Handler {
	h := &handler{s}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /images", h.list)
	mux.HandleFunc("GET /images/inspect", h.inspect)
	mux.HandleFunc("GET /images/save", h.save)
	mux.HandleFunc("DELETE /images", h.remove)
	mux.HandleFunc("POST /images/import", h.importArchive)
	mux.HandleFunc("POST /images/pull", h.pull)
	mux.HandleFunc("POST /images/tag", h.tag)
	mux.HandleFunc("POST /images/prune", h.prune)
	return mux
}

type handler struct{ s *image.Store }

func (h *handler) list(w http.ResponseWriter, _ *http.Request) { writeJSON(w, h.s.List()) }

func (h *handler) inspect(w http.ResponseWriter, r *http.Request) {
	d, err := h.s.Inspect(r.URL.Query().Get("ref"))
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, d)
}

// saveError is the trailer that carries an error which came after the first
// byte of an archive. Without it the reader could only say that it broke off.
const saveError = "Skiff-Error"

func (h *handler) save(w http.ResponseWriter, r *http.Request) {
	refs := r.URL.Query()["ref"]
	for _, ref := range refs {
		if _, err := h.s.Resolve(ref); err != nil {
			writeError(w, err)
			return
		}
	}
	w.Header().Set("Content-Type", "application/x-tar")
	w.Header().Set("Trailer", saveError)
	if err := h.s.Save(r.Context(), w, refs...); err != nil {
		// A header's value is one line.
		w.Header().Set(saveError, strings.Join(strings.Fields(err.Error()), " "))
	}
}

func (h *handler) remove(w http.ResponseWriter, r *http.Request) {
	if err := h.s.Remove(r.FormValue("ref")); err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, struct{}{})
}

func (h *handler) tag(w http.ResponseWriter, r *http.Request) {
	img, err := h.s.Tag(r.URL.Query().Get("ref"), r.URL.Query().Get("name"))
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, img)
}

func (h *handler) prune(w http.ResponseWriter, r *http.Request) {
	opts := image.PruneOptions{Nameless: r.URL.Query().Get("nameless") != ""}
	if text := r.URL.Query().Get("unusedFor"); text != "" {
		var err error
		if opts.UnusedFor, err = time.ParseDuration(text); err != nil {
			writeError(w, fmt.Errorf("reading unusedFor: %w", err))
			return
		}
	}
	removed, freed, err := h.s.Prune(r.Context(), opts)
	if err != nil {
		writeError(w, err)
		return
	}
	if removed == nil {
		removed = []image.Image{} // a list in JSON, too
	}
	writeJSON(w, Pruned{removed, freed})
}

func (h *handler) importArchive(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	platform, err := parsePlatform(q.Get("platform"))
	if err != nil {
		writeError(w, err)
		return
	}
	// After both directions were used at once, net/http may begin to read the
	// next request while it still reads the end of this body, and panics.
	w.Header().Set("Connection", "close")
	out := newLines(w)
	opts := image.ImportOptions{Names: q["name"], Platform: platform, Progress: out.event}
	imgs, err := h.importFrom(r.Context(), q.Get("path"), q.Get("dir") != "", r.Body, opts)
	out.end(imgs, err)
}

func (h *handler) importFrom(ctx context.Context, path string, dir bool, body io.Reader, opts image.ImportOptions) ([]image.Image, error) {
	if path == "" {
		// Hide the body's other methods: it is a stream.
		return h.s.Import(ctx, struct{ io.Reader }{body}, opts)
	}
	if dir {
		return h.s.ImportDir(ctx, path, opts)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("importing image: %w", err)
	}
	defer f.Close()
	return h.s.Import(ctx, f, opts)
}

func (h *handler) pull(w http.ResponseWriter, r *http.Request) {
	platform, err := parsePlatform(r.URL.Query().Get("platform"))
	if err != nil {
		writeError(w, err)
		return
	}
	var req pullRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, 4<<20)).Decode(&req); err != nil && err != io.EOF {
		writeError(w, fmt.Errorf("decoding pull request: %w", err))
		return
	}
	out := newLines(w)
	img, err := h.s.Pull(r.Context(), r.URL.Query().Get("ref"), image.PullOptions{
		Auth: req.Auth, Secrets: req.Secrets, PlainHTTP: req.PlainHTTP, InsecureSkipVerify: req.InsecureSkipVerify,
		Platform: platform, Progress: out.event,
	})
	if err != nil {
		out.end(nil, err)
		return
	}
	out.end([]image.Image{img}, nil)
}

// lines writes an answer line by line, each at once.
type lines struct {
	mu  sync.Mutex
	w   http.ResponseWriter
	rc  *http.ResponseController
	enc *json.Encoder
}

func newLines(w http.ResponseWriter) *lines {
	w.Header().Set("Content-Type", "application/x-ndjson")
	l := &lines{w: w, rc: http.NewResponseController(w), enc: json.NewEncoder(w)}
	// HTTP/1: events go out while the archive still comes in.
	_ = l.rc.EnableFullDuplex()
	return l
}

func (l *lines) event(ev image.Event) { l.line(Line{Event: &ev}) }

func (l *lines) end(imgs []image.Image, err error) {
	last := Line{Images: imgs, Done: true}
	if err != nil {
		last.Error = err.Error()
	}
	l.line(last)
	// The connection may serve other requests.
	_ = l.rc.SetWriteDeadline(time.Time{})
}

// line ignores errors: a client that has gone cancels the request's context.
func (l *lines) line(v Line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.rc.SetWriteDeadline(time.Now().Add(time.Minute))
	if l.enc.Encode(v) == nil {
		_ = l.rc.Flush()
	}
}

func parsePlatform(s string) (ocispec.Platform, error) {
	if s == "" {
		return ocispec.Platform{}, nil
	}
	p := strings.Split(s, "/")
	if len(p) < 2 || len(p) > 3 || p[0] == "" || p[1] == "" {
		return ocispec.Platform{}, fmt.Errorf("platform %q: it must be OS/ARCH or OS/ARCH/VARIANT, such as linux/amd64", s)
	}
	out := ocispec.Platform{OS: p[0], Architecture: p[1]}
	if len(p) == 3 {
		out.Variant = p[2]
	}
	return out, nil
}

func writeJSON(w http.ResponseWriter, v any) {
	var buf bytes.Buffer
	if err := json.NewEncoder(&buf).Encode(v); err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(buf.Bytes())
}

// writeError answers with the error's text; the status tells its kind.
func writeError(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	switch {
	case errors.Is(err, image.ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, image.ErrInUse), errors.Is(err, image.ErrAmbiguous):
		status = http.StatusConflict
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Line{Error: err.Error(), Done: true})
}
