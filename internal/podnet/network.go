package podnet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"go.skiff.dev/skiff/internal/kernel/netlink"
	"go.skiff.dev/skiff/internal/kernel/nft"
	"go.skiff.dev/skiff/internal/relay"
)

// podInterface is the name of the link inside the pod.
const podInterface = "eth0"

// Network is the pods' network of one skiff on this node. Its methods may be
// called concurrently, also for the same pod.
type Network struct {
	opts    Options
	log     *slog.Logger
	records records
	route   *netlink.Conn
	// removals is a socket of its own: the kernel answers the removal of a
	// link after a grace period, for which nothing else must wait.
	removals *netlink.Conn
	running  *netlink.Running
	table    *nft.Conn

	mu       sync.Mutex
	addrs    *addresses
	pods     map[string]*record
	busy     map[string]chan struct{}
	loopback map[string][]*relay.Relay // host ports on 127.0.0.1 and ::1, by pod
	bridge   netlink.Link
	mtu      int
	warnings []string

	deleter deleter
	pending sync.WaitGroup // Detach's work in the background
}

// New reads the state on disk. It changes nothing on the host.
func New(opts Options) (*Network, error) {
	if opts.Ledger == "" {
		opts.Ledger = DefaultLedger
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	if !opts.ClusterCIDR.IsValid() {
		opts.ClusterCIDR = opts.PodCIDR
	}
	if len(opts.LinkPrefix) == 0 || len(opts.LinkPrefix) > 5 {
		return nil, fmt.Errorf("link prefix %q must have 1 to 5 bytes", opts.LinkPrefix)
	}
	n := &Network{opts: opts, log: opts.Log, pods: map[string]*record{}, busy: map[string]chan struct{}{}, loopback: map[string][]*relay.Relay{}}
	var err error
	if n.addrs, err = newAddresses(opts.PodCIDR); err != nil {
		return nil, err
	}
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	n.records = records{dir: filepath.Join(opts.StateDir, "pods"), bootID: boot}
	if n.pods, err = n.records.load(); err != nil {
		return nil, err
	}
	for _, rec := range n.pods {
		for _, ip := range rec.IPs {
			// An address outside of the range is of a former configuration: it
			// needs no claim, its pod keeps it until it is detached.
			n.addrs.claim(ip)
		}
	}
	if n.route, err = netlink.DialRoute(nil); err != nil {
		return nil, err
	}
	if n.removals, err = netlink.DialRoute(nil); err != nil {
		return nil, errors.Join(err, n.route.Close())
	}
	if n.running, err = netlink.WatchRunning(n.route); err != nil {
		return nil, errors.Join(err, n.removals.Close(), n.route.Close())
	}
	if n.table, err = nft.Open(opts.Table); err != nil {
		return nil, errors.Join(err, n.running.Close(), n.removals.Close(), n.route.Close())
	}
	n.deleter.delete = n.deleteLinks
	return n, nil
}

// Close waits for what Detach left to do and closes the sockets.
func (n *Network) Close() error {
	n.pending.Wait()
	n.closeAllLoopback()
	return errors.Join(n.running.Close(), n.removals.Close(), n.route.Close(), n.table.Close())
}

// Warnings says in words what on this host stands in the way of the pods'
// traffic, found by Start; they are logged too.
func (n *Network) Warnings() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.warnings)
}

// Attachment returns what Attach gave to the pod, also before a restart of skiff.
func (n *Network) Attachment(id string) (Attachment, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	rec, ok := n.pods[id]
	if !ok {
		return Attachment{}, false
	}
	return rec.Attachment, true
}

// enter waits until no other call works on the pod, and marks it as busy.
func (n *Network) enter(ctx context.Context, id string) (leave func(), err error) {
	for {
		n.mu.Lock()
		other, taken := n.busy[id]
		if !taken {
			mine := make(chan struct{})
			n.busy[id] = mine
			n.mu.Unlock()
			return func() {
				n.mu.Lock()
				delete(n.busy, id)
				n.mu.Unlock()
				close(mine)
			}, nil
		}
		n.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for another change of pod %q's network: %w", id, ctx.Err())
		}
	}
}

func digest(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}

// linkName is the host's end of the pod's veth pair: the same for the same
// pod, so that a link can be found without any state. At most 15 bytes.
func (n *Network) linkName(id string) string { return n.opts.LinkPrefix + digest(id)[:10] }

// Recover keeps the pods in liveIDs and detaches all others that are known
// from before, so that no address leaks. Call it once, after Start.
func (n *Network) Recover(ctx context.Context, liveIDs []string) error {
	live := map[string]bool{}
	links := map[string]bool{}
	for _, id := range liveIDs {
		live[id] = true
		links[n.linkName(id)] = true
	}
	n.mu.Lock()
	var gone []string
	for id := range n.pods {
		if !live[id] {
			gone = append(gone, id)
		}
	}
	n.mu.Unlock()
	var errs []error
	for _, id := range gone {
		n.log.Info("freeing the network of a pod that is gone", "pod", id)
		errs = append(errs, n.Detach(ctx, id))
	}
	errs = append(errs, n.deleteStrayLinks(links))
	return errors.Join(errs...)
}

// deleteStrayLinks removes links with this skiff's prefix that belong to no pod.
func (n *Network) deleteStrayLinks(keep map[string]bool) error {
	links, err := n.route.Links()
	if err != nil {
		return err
	}
	var stray []string
	for _, l := range links {
		if n.ours(l) && !keep[l.Name] {
			stray = append(stray, l.Name)
		}
	}
	return n.deleteLinks(stray)
}

// ours reports whether a link is the host's end of one of this skiff's veth pairs.
func (n *Network) ours(l netlink.Link) bool {
	prefix := n.opts.LinkPrefix
	return l.Kind == "veth" && len(l.Name) == len(prefix)+10 && l.Name[:len(prefix)] == prefix
}

// Teardown removes everything that this Network made on the host and restores
// what it changed. It works without Start, over the remains of another process.
func (n *Network) Teardown() error {
	n.pending.Wait()
	errs := []error{n.deleteStrayLinks(nil)}
	if l, err := n.route.Link(n.opts.Bridge); err == nil && l.Kind == "bridge" {
		errs = append(errs, n.route.Do(netlink.DeleteLink(n.opts.Bridge)))
	}
	errs = append(errs,
		n.table.DeleteTable(),
		releaseSysctl(n.opts.Ledger, n.opts.Name, ipForward),
		os.RemoveAll(n.records.dir))
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pods = map[string]*record{}
	n.addrs.inUse = map[netip.Addr]bool{}
	return errors.Join(errs...)
}
