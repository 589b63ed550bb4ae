// Command hello is the program of the image skiff.dev/hello:1, which skiff
// carries: a small web server that says who answers, and a client for it.
//
//	hello                serve on :8080 (HELLO_ADDR)
//	hello get URL        fetch URL and print the answer; exit 1 unless 2xx
//	hello sleep [TIME]   wait for TIME (forever) or a signal
//
// The server answers every path with its version (VERSION), a greeting
// (HELLO_TEXT), its host name and addresses; /healthz with "ok"; and
// /slow?for=1s late, to see what happens to requests under way. On SIGTERM it
// goes on until no connection came for HELLO_DRAIN (default 10ms), then
// finishes what is under way and exits with 0.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "hello:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return serve(ctx)
	}
	switch args[0] {
	case "serve":
		return serve(ctx)
	case "get":
		if len(args) != 2 {
			return fmt.Errorf("usage: hello get URL")
		}
		return get(ctx, args[1], os.Stdout)
	case "sleep":
		return sleep(ctx, args[1:])
	}
	return fmt.Errorf("unknown command %q; known are serve, get URL and sleep [TIME]", args[0])
}

func sleep(ctx context.Context, args []string) error {
	if len(args) == 0 {
		<-ctx.Done()
		return nil
	}
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return fmt.Errorf("reading time to sleep: %w", err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
	return nil
}
