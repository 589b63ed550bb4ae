package store

import (
	"crypto/rand"
	"net/url"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

const (
	// tickMs is raft's clock. With one member nobody misses a heartbeat; each
	// tick only wakes the process. The first election does not wait for it
	// (see Store.elect).
	tickMs = 1000
	// electionMs must be at least five ticks.
	electionMs = 5 * tickMs

	// batchInterval is how long writes may stay in the log alone before they
	// reach the database file. The log is what makes them last; a longer
	// interval means fewer wake-ups and fewer, larger writes.
	batchInterval = time.Second

	// quotaBytes bounds the database file: 8 GiB is the most that etcd's
	// documentation advises.
	quotaBytes = 8 << 30
	// snapshotEntries is how many raft entries are held before they are folded
	// into a snapshot. Each is held in memory with its value, so a small
	// number keeps the process small; etcd's default is 10,000.
	snapshotEntries = 1000
	// catchUpEntries are held for slow followers, of which there are none.
	catchUpEntries = 100
)

// config is the configuration of an etcd with one member.
func (s *Store) config() *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name = "skiff"
	cfg.Dir = s.opts.Dir
	cfg.ListenClientUrls = []url.URL{{Scheme: "unix", Path: s.opts.Socket}}
	// Nobody reads the advertised addresses; etcd wants them to hold a port.
	cfg.AdvertiseClientUrls = []url.URL{{Scheme: "unix", Host: "localhost:0"}}
	// The one member has no peers: it listens for none. Its advertised peer
	// address is only its name in the member list.
	cfg.ListenPeerUrls = nil
	cfg.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:2380"}}
	// The token goes into the member's number, by which elect knows its own.
	cfg.InitialClusterToken = rand.Text()
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.TickMs = tickMs
	cfg.ElectionMs = electionMs
	cfg.BackendBatchInterval = batchInterval
	cfg.QuotaBackendBytes = quotaBytes
	cfg.SnapshotCount = snapshotEntries
	cfg.SnapshotCatchUpEntries = catchUpEntries
	cfg.EnableGRPCGateway = false
	// The API server compacts (package apiserver); etcd need not.
	cfg.AutoCompactionRetention = "0"
	// Progress is asked for when a list needs it, not announced by the clock.
	cfg.WatchProgressNotifyInterval = 10 * time.Minute
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(s.bridge.zap())
	return cfg
}
