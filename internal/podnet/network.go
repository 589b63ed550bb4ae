package podnet

import (
	"context"
	"errors"
	"os"
)

var errNotYet = errors.New("podnet is not there yet")

// Network is the pods' network of one skiff on this node. Its methods may be
// called concurrently, also for the same pod.
type Network struct {
	opts Options
}

// New reads the state on disk. It changes nothing on the host.
func New(opts Options) (*Network, error) { return &Network{opts: opts}, nil }

// Start sets up bridge, forwarding and masquerading. It may be called again,
// also over the remains of a skiff that was killed: pods keep their traffic.
func (n *Network) Start(ctx context.Context) error { return errNotYet }

// Warnings says in words what on this host stands in the way of the pods'
// traffic, found by Start; they are logged too.
func (n *Network) Warnings() []string { return nil }

// Attach connects the network namespace netns and returns when the pod can be
// reached. On an error nothing is left behind. A pod that is already attached
// is detached first.
func (n *Network) Attach(ctx context.Context, id string, netns *os.File, opts AttachOptions) (Attachment, error) {
	return Attachment{}, errNotYet
}

// Attachment returns what Attach gave to the pod, also before a restart of skiff.
func (n *Network) Attachment(id string) (Attachment, bool) { return Attachment{}, false }

// Detach removes the pod's link, host ports and address. A pod that is not
// attached is no error: Detach may be repeated.
func (n *Network) Detach(ctx context.Context, id string) error { return errNotYet }

// Recover keeps the pods in liveIDs and detaches all others that are known
// from before, so that no address leaks. Call it once, after Start.
func (n *Network) Recover(ctx context.Context, liveIDs []string) error { return errNotYet }

// Teardown removes everything that this Network made on the host and restores
// what it changed. It works without Start, over the remains of another process.
func (n *Network) Teardown() error { return errNotYet }
