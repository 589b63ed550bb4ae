package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestAnswer(t *testing.T) {
	t.Setenv("VERSION", "7")
	t.Setenv("POD_IP", "10.42.0.9")
	srv := httptest.NewServer(handler())
	defer srv.Close()
	var out bytes.Buffer
	if err := get(context.Background(), srv.URL, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Hello from skiff!\n", "version: 7\n", "address: 10.42.0.9\n", "host: "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("answer lacks %q:\n%s", want, &out)
		}
	}
	out.Reset()
	if err := get(context.Background(), srv.URL+"/healthz", &out); err != nil || out.String() != "ok\n" {
		t.Errorf("healthz: %q, %v", &out, err)
	}
}

// A request that is under way when the server is told to stop is answered.
func TestStopFinishesRequests(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	t.Setenv("HELLO_ADDR", addr)
	t.Setenv("HELLO_DRAIN", "1ms")
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- serve(ctx) }()
	waitFor(t, addr)
	answered := make(chan int, 1)
	go func() {
		resp, err := http.Get("http://" + addr + "/slow?for=300ms")
		if err != nil {
			answered <- 0
			return
		}
		resp.Body.Close()
		answered <- resp.StatusCode
	}()
	time.AfterFunc(100*time.Millisecond, stop)
	if code := <-answered; code != http.StatusOK {
		t.Errorf("request under way: status %d", code)
	}
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
}

func waitFor(t *testing.T, addr string) {
	t.Helper()
	for range 200 {
		if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			c.Close()
			return
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // nothing tells that another process listens
	}
	t.Fatalf("nobody listens on %s", addr)
}

func TestUnknownCommand(t *testing.T) {
	if err := run(context.Background(), []string{"dance"}); err == nil || !strings.Contains(err.Error(), "dance") {
		t.Errorf("error: %v", err)
	}
}
