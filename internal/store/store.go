// Package store runs the cluster's database: an etcd with one member inside the
// process, listening on a unix socket, its data in one directory. The API
// server is the only part that is handed the store; everyone else sees the
// cluster through the API.
package store

import (
	"errors"
	"log/slog"

	clientv3 "go.etcd.io/etcd/client/v3"

	"skiff.dev/skiff/internal/lifecycle"
)

// Options says where the store lives.
type Options struct {
	// Dir holds the data; it is created with mode 0700.
	Dir string
	// Socket is the path of the unix socket that clients dial. The peer socket
	// lies beside it.
	Socket string
	// Log receives etcd's log. Nil means slog.Default.
	Log *slog.Logger
}

// Store is one embedded etcd.
type Store struct {
	opts  Options
	ready chan struct{}
}

// New prepares a store; nothing touches the disk before its component runs.
func New(opts Options) *Store {
	return &Store{opts: opts, ready: make(chan struct{})}
}

// Component runs the store. It is ready when writes are accepted.
func (s *Store) Component() lifecycle.Component {
	return lifecycle.Component{Name: "store"}
}

// Ready is closed when the store accepts writes.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// Client returns the store's client. It is valid once Ready is closed, and ends
// with the store.
func (s *Store) Client() (*clientv3.Client, error) {
	return nil, errors.New("opening the store: not there yet")
}
