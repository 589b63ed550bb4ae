// Package store runs the cluster's database: an etcd with one member inside the
// process, listening on a unix socket, its data in one directory. The API
// server is the only part that is handed the store; everyone else sees the
// cluster through the API.
//
// The API server talks to it by direct calls (Client); the socket is there for
// etcdctl and for looking in from outside.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"

	"go.skiff.dev/skiff/internal/lifecycle"
)

// startTimeout bounds the start. A slow disk is slow, not fatal; but an etcd
// that has not elected itself after this long never will.
const startTimeout = 2 * time.Minute

// Options says where the store lives.
type Options struct {
	// Dir holds the data; it is created with mode 0700.
	Dir string
	// Socket is the path of the unix socket that clients dial.
	Socket string
	// Log receives etcd's log. Nil means slog.Default.
	Log *slog.Logger
}

// Store is one embedded etcd.
type Store struct {
	opts   Options
	ready  chan struct{}
	etcd   *embed.Etcd
	bridge *bridge
}

// New prepares a store; nothing touches the disk before its component runs.
func New(opts Options) *Store {
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	return &Store{opts: opts, ready: make(chan struct{}), bridge: newBridge(opts.Log)}
}

// Component runs the store. It is ready when writes are accepted.
func (s *Store) Component() lifecycle.Component {
	return lifecycle.Component{Name: "store", Run: s.run}
}

// Ready is closed when the store accepts writes.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// Client returns a new client, which calls the store inside the process. It can
// be had once Ready is closed; its holder closes it. Watches of one client that
// have equal context metadata share a stream.
func (s *Store) Client() (*clientv3.Client, error) {
	select {
	case <-s.ready:
		return v3client.New(s.etcd.Server), nil
	default:
		return nil, errors.New("opening a client of the store: the store is not ready yet")
	}
}

func (s *Store) run(ctx context.Context, ready func()) error {
	if err := s.prepare(); err != nil {
		return err
	}
	unlock, err := lockDir(s.opts.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	etcd, err := s.start()
	if err != nil {
		return err
	}
	defer etcd.Close()
	if err := s.elect(ctx, etcd); err != nil || ctx.Err() != nil {
		return err
	}
	s.etcd = etcd
	close(s.ready)
	ready()
	select {
	case <-ctx.Done():
		s.bridge.silence()
		return nil
	case err := <-etcd.Err():
		return fmt.Errorf("running the store: %w", err)
	}
}

// prepare makes the directories and removes a socket that a killed process left.
func (s *Store) prepare() error {
	// sun_path holds 108 bytes with its final zero (unix(7)).
	if len(s.opts.Socket) > 107 {
		return fmt.Errorf("starting the store: the socket path %q has more than 107 bytes, choose a shorter run directory", s.opts.Socket)
	}
	if err := os.MkdirAll(s.opts.Dir, 0o700); err != nil {
		return fmt.Errorf("creating the store's directory: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(s.opts.Socket), 0o700); err != nil {
		return fmt.Errorf("creating the directory of the store's socket: %w", err)
	}
	if err := os.Remove(s.opts.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the old socket of the store: %w", err)
	}
	return nil
}

// start launches etcd. Where it meets damaged files etcd panics or asks its
// logger to end the process; both become an error here, because both happen on
// this goroutine.
func (s *Store) start() (etcd *embed.Etcd, err error) {
	defer func() {
		if p := recover(); p != nil {
			etcd, err = nil, s.explain(fmt.Errorf("%v", p))
		}
	}()
	if err := checkDatabase(s.opts.Dir); err != nil {
		return nil, s.explain(err)
	}
	etcd, err = embed.StartEtcd(s.config())
	if err != nil {
		return nil, s.explain(err)
	}
	if err := os.Chmod(s.opts.Socket, 0o600); err != nil {
		etcd.Close()
		return nil, fmt.Errorf("protecting the store's socket: %w", err)
	}
	return etcd, nil
}

// explain adds where the data is and what can be done.
func (s *Store) explain(err error) error {
	return fmt.Errorf("starting the store from %s: %w; if the files are damaged, restore the directory from a backup, or move it away to start with an empty cluster", s.opts.Dir, err)
}
