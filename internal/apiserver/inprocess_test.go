package apiserver

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// localTo returns a client whose requests go to the handler.
func localTo(t *testing.T, handler http.HandlerFunc) (*http.Client, *localTransport) {
	t.Helper()
	transport := newLocalTransport()
	t.Cleanup(transport.cancel)
	transport.open(built{inside: handler})
	return &http.Client{Transport: transport.config("x", nil).Transport}, transport
}

func TestLocalResponse(t *testing.T) {
	client, _ := localTo(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Test", r.RequestURI)
		w.WriteHeader(http.StatusTeapot)
		w.Header().Set("X-Late", "not sent")
		_, _ = w.Write(body)
	})
	resp, err := client.Post("http://in-process/a?b=c", "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "hello" || resp.StatusCode != http.StatusTeapot {
		t.Errorf("got %d %q, %v", resp.StatusCode, body, err)
	}
	if resp.Header.Get("X-Test") != "/a?b=c" || resp.Header.Get("X-Late") != "" {
		t.Errorf("headers %v", resp.Header)
	}
}

// TestLocalStream reads what is flushed while the handler still runs, and ends
// the handler by closing the body.
func TestLocalStream(t *testing.T) {
	ended := make(chan struct{})
	client, _ := localTo(t, func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		_, _ = w.Write([]byte("one"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	resp, err := client.Get("http://in-process/")
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 3)
	if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != "one" {
		t.Errorf("got %q, %v", buf, err)
	}
	resp.Body.Close()
	<-ended
}

func TestLocalSlowReaderHoldsItsWriter(t *testing.T) {
	wrote := make(chan int, 100)
	client, _ := localTo(t, func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, bodyLimit/4)
		for i := range 100 {
			if _, err := w.Write(chunk); err != nil {
				close(wrote)
				return
			}
			wrote <- i
		}
	})
	resp, err := client.Get("http://in-process/")
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		<-wrote
	}
	select {
	case i := <-wrote:
		t.Errorf("chunk %d passed the limit", i)
	case <-time.After(20 * time.Millisecond):
	}
	resp.Body.Close()
	for range wrote {
	}
}

func TestLocalAbort(t *testing.T) {
	client, _ := localTo(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("half"))
		panic(http.ErrAbortHandler)
	})
	resp, err := client.Get("http://in-process/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) || string(body) != "half" {
		t.Errorf("got %q, %v", body, err)
	}
}

// TestLocalStop ends requests in flight, and those that wait for the server.
func TestLocalStop(t *testing.T) {
	client, transport := localTo(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	done := make(chan error, 2)
	go func() {
		resp, err := client.Get("http://in-process/")
		if err == nil {
			resp.Body.Close()
		}
		done <- nil
	}()
	waiting := newLocalTransport()
	go func() {
		_, err := waiting.wait(context.Background())
		done <- err
	}()
	transport.cancel()
	waiting.cancel()
	for range 2 {
		if err := <-done; err != nil && !errors.Is(err, errStopped) {
			t.Error(err)
		}
	}
}
