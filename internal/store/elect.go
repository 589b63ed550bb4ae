package store

import (
	"context"
	"expvar"
	"fmt"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// elect makes the one member its own leader at once. Left alone it would wait
// for an election timeout to pass; a short one costs a wake-up per tick for
// ever. So it gets the message by which a leader hands over (MsgTimeoutNow,
// Raft thesis section 3.10).
//
// The message must not come while the log is read back: raft looks through the
// entries that are not applied yet, and panics if etcd has cut them off already
// (raft 3.6, hasUnappliedConfChanges).
func (s *Store) elect(ctx context.Context, etcd *embed.Etcd) error {
	id := uint64(etcd.Server.MemberID())
	began := time.Now()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		select {
		case <-etcd.Server.ReadyNotify():
			return nil
		case err := <-etcd.Err():
			return s.explain(err)
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
		if time.Since(began) > startTimeout {
			return fmt.Errorf("starting the store: no leader after %s", startTimeout)
		}
		if !quiet(etcd.Server, id) {
			continue
		}
		if err := etcd.Server.Process(ctx, raftpb.Message{Type: raftpb.MsgTimeoutNow, To: id, From: id}); err != nil && ctx.Err() == nil {
			return s.explain(err)
		}
	}
}

// quiet reports whether the member has no leader and raft itself counts its
// whole log as applied. Without a leader nothing is added to the log, so this
// stays true until the election. raft's own count is published as a variable of
// the process only; if it is another member's (a second store in a test), this
// one waits for its election timeout.
func quiet(server *etcdserver.EtcdServer, id uint64) bool {
	published, ok := expvar.Get("raft.status").(expvar.Func)
	if !ok {
		return false
	}
	status, ok := published.Value().(raft.Status)
	return ok && status.ID == id && server.Leader() == 0 && status.Commit > 0 && status.Applied >= status.Commit
}
