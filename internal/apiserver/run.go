package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net"
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

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 2)
	go func() { ended <- server.PrepareRun().RunWithContext(ctx) }()
	go func() {
		if err := s.cert.renew(ctx); err != nil {
			ended <- err
		}
	}()
	if err := s.becomeReady(ctx); err != nil {
		return errors.Join(err, stopped(cancel, ended))
	}
	ready()
	go s.keepSystem(ctx)
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	return stopped(cancel, ended)
}

// stopped ends the server and waits for it.
func stopped(cancel context.CancelFunc, ended <-chan error) error {
	cancel()
	return <-ended
}

// becomeReady waits until /readyz answers ok, and makes the system's objects.
func (s *Server) becomeReady(ctx context.Context) error {
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
	return s.waitReadyz(ctx)
}

// waitReadyz asks for /readyz in short intervals: its checks belong to the
// library and announce nothing.
func (s *Server) waitReadyz(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
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
