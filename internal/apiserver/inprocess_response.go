package apiserver

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// bodyLimit is how many bytes a handler may be ahead of its reader. A watch
// whose reader stands still then blocks, as it would on a full socket.
const bodyLimit = 1 << 20

// localResponse is both ends of one response: the handler's ResponseWriter and
// the client's Body.
type localResponse struct {
	response *http.Response
	started  chan struct{}
	cancel   context.CancelFunc
	header   http.Header

	mu     sync.Mutex
	change sync.Cond
	buf    []byte
	wrote  bool
	done   bool
	closed bool
	err    error
}

func newLocalResponse(req *http.Request, cancel context.CancelFunc) *localResponse {
	w := &localResponse{started: make(chan struct{}), cancel: cancel, header: http.Header{}}
	w.change.L = &w.mu
	w.response = &http.Response{Proto: "HTTP/2.0", ProtoMajor: 2, Request: req, ContentLength: -1, Body: (*localBody)(w)}
	return w
}

// Header implements http.ResponseWriter.
func (w *localResponse) Header() http.Header { return w.header }

// WriteHeader hands the response to the caller.
func (w *localResponse) WriteHeader(code int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(code)
}

func (w *localResponse) writeHeader(code int) {
	if w.wrote || code < 200 {
		return
	}
	w.wrote = true
	w.response.StatusCode = code
	w.response.Status = http.StatusText(code)
	w.response.Header = w.header.Clone()
	close(w.started)
}

// Write implements http.ResponseWriter. It blocks while the reader is too far
// behind, and fails once the reader is gone.
func (w *localResponse) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(http.StatusOK)
	for len(w.buf) >= bodyLimit && !w.closed {
		w.change.Wait()
	}
	if w.closed {
		return 0, errors.New("writing a response: its reader closed it")
	}
	w.buf = append(w.buf, p...)
	w.change.Broadcast()
	return len(p), nil
}

// Flush implements http.Flusher: the header may be all there is so far.
func (w *localResponse) Flush() { w.WriteHeader(http.StatusOK) }

// FlushError implements what http.ResponseController looks for.
func (w *localResponse) FlushError() error { w.Flush(); return nil }

// SetReadDeadline and SetWriteDeadline accept what a connection would: the
// request's context is the only deadline here.
func (w *localResponse) SetReadDeadline(time.Time) error  { return nil }
func (w *localResponse) SetWriteDeadline(time.Time) error { return nil }

// CloseNotify implements http.CloseNotifier, which the watch handlers of
// k8s.io/apiserver still ask for.
func (w *localResponse) CloseNotify() <-chan bool { return make(chan bool) }

// finish ends the body. It runs deferred around the handler, so a handler that
// aborts by panic (http.ErrAbortHandler) breaks the body off.
func (w *localResponse) finish() {
	var err error
	if p := recover(); p != nil {
		if cause, ok := p.(error); !ok || !errors.Is(cause, http.ErrAbortHandler) {
			panic(p)
		}
		err = io.ErrUnexpectedEOF
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && !w.wrote {
		w.response.StatusCode = http.StatusInternalServerError
	}
	w.writeHeader(http.StatusOK)
	w.done, w.err = true, err
	w.change.Broadcast()
}

// localBody is the reader's view of a localResponse.
type localBody localResponse

// Read implements io.Reader.
func (b *localBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.buf) == 0 {
		switch {
		case b.closed:
			return 0, errors.New("reading a response: it is closed")
		case b.done && b.err != nil:
			return 0, b.err
		case b.done:
			return 0, io.EOF
		}
		b.change.Wait()
	}
	n := copy(p, b.buf)
	b.buf = b.buf[n:]
	if len(b.buf) == 0 {
		b.buf = nil
	}
	b.change.Broadcast()
	return n, nil
}

// Close ends the request.
func (b *localBody) Close() error {
	b.cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.change.Broadcast()
	return nil
}
