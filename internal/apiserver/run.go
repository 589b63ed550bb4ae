package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// run is the component: listen, build, serve, make the system's own objects.
func (s *Server) run(ctx context.Context, ready func()) error {
	defer s.local.cancel()
	listener, err := listen(ctx, s.opts.Bind, s.opts.Port)
	if err != nil {
		return err
	}
	defer listener.Close()
	s.port = listener.Addr().(*net.TCPAddr).Port
	if s.cert, err = newServingCert(s.opts); err != nil {
		return err
	}
	server, built, err := s.build(listener)
	if err != nil {
		return err
	}
	s.local.open(built)

	ctx, cancel := context.WithCancelCause(ctx)
	var parts sync.WaitGroup
	start := func(part func(context.Context) error) {
		parts.Go(func() {
			if err := part(ctx); err != nil {
				cancel(err)
			}
		})
	}
	start(server.PrepareRun().RunWithContext)
	start(func(ctx context.Context) error { return serve(ctx, listener, built.outside, s.cert, s.log) })
	start(s.cert.renew)
	if err := s.becomeReady(ctx); err != nil {
		cancel(err)
	} else {
		ready()
		start(s.keepSystem)
	}
	<-ctx.Done()
	parts.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// becomeReady waits until /readyz answers ok, and makes the system's objects.
func (s *Server) becomeReady(ctx context.Context) error {
	// An informer that asks a watch cache which is not filled yet is sent away
	// for a second.
	if err := s.waitFor(ctx, "/readyz/watch-caches"); err != nil {
		return err
	}
	// Admission needs to know the namespaces; it would look again only after
	// 100 ms.
	namespaces := s.informers.Core().V1().Namespaces().Informer()
	s.informers.Start(ctx.Done())
	select {
	case <-namespaces.HasSyncedChecker().Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := s.ensureSystem(ctx); err != nil {
		return err
	}
	return s.waitFor(ctx, "/readyz")
}

// waitFor asks for a check in short intervals: the checks belong to the library
// and announce nothing.
func (s *Server) waitFor(ctx context.Context, check string) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.client.Discovery().RESTClient().Get().AbsPath(check).Do(ctx).Error()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the API server to be ready: %w", err)
		}
	}
}
