// Package netlink speaks rtnetlink and ctnetlink: links, addresses, routes,
// neighbours and tracked connections of one network namespace.
//
// It builds the few messages that skiff needs itself, on top of mdlayher's
// transport, so that what belongs together travels in one send: a pod's whole
// network is two of them (one per namespace). Message layouts are those of
// linux/if_link.h, linux/rtnetlink.h and linux/netfilter/nfnetlink_conntrack.h.
package netlink

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Conn is a socket in one network namespace. It may be used concurrently.
type Conn struct {
	mu sync.Mutex // one question and its answers at a time
	nl *netlink.Conn
}

// DialRoute opens an rtnetlink socket in the namespace netns, or in the
// caller's where netns is nil. Only the opening enters the namespace.
func DialRoute(netns *os.File) (*Conn, error) { return dial(unix.NETLINK_ROUTE, netns) }

// DialConntrack opens a ctnetlink socket in the caller's namespace.
func DialConntrack() (*Conn, error) { return dial(unix.NETLINK_NETFILTER, nil) }

func dial(family int, netns *os.File) (*Conn, error) {
	config := &netlink.Config{}
	if netns != nil {
		config.NetNS = int(netns.Fd())
	}
	nl, err := netlink.Dial(family, config)
	if err != nil {
		return nil, fmt.Errorf("opening netlink socket: %w", err)
	}
	// Errors then carry the kernel's own words; older kernels do without.
	_ = nl.SetOption(netlink.ExtendedAcknowledge, true)
	return &Conn{nl: nl}, nil
}

// Close closes the socket.
func (c *Conn) Close() error { return c.nl.Close() }

// Request is one message of a batch, made by the constructors of this package.
type Request struct {
	what   string
	msg    netlink.Message
	ignore error
}

// Ignoring makes the batch go on where the kernel answers this error number.
func (r Request) Ignoring(errno error) Request {
	r.ignore = errno
	return r
}

// Do sends the requests in order in one system call and waits for all
// answers. The kernel carries out each by itself: the error names the first
// that was refused, and those after it were tried too.
func (c *Conn) Do(requests ...Request) error {
	msgs := make([]netlink.Message, len(requests))
	for i, r := range requests {
		msgs[i] = r.msg
		msgs[i].Header.Flags |= netlink.Request | netlink.Acknowledge
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.nl.SendMessages(msgs); err != nil {
		return fmt.Errorf("sending %s: %w", requests[0].what, err)
	}
	var first error
	for _, r := range requests {
		_, err := c.nl.Receive()
		if err == nil || (r.ignore != nil && errors.Is(err, r.ignore)) {
			continue
		}
		if first == nil {
			first = fmt.Errorf("%s: %w", r.what, cause(err))
		}
	}
	return first
}

// cause strips the transport's framing off a kernel error and keeps its words.
func cause(err error) error {
	var op *netlink.OpError
	if !errors.As(err, &op) {
		return err
	}
	if op.Message != "" {
		return fmt.Errorf("%w (%s)", op.Err, op.Message)
	}
	return op.Err
}

// dump asks for a listing.
func (c *Conn) dump(msg netlink.Message) ([]netlink.Message, error) {
	msg.Header.Flags |= netlink.Request | netlink.Dump
	return c.execute(msg)
}

func (c *Conn) execute(msg netlink.Message) ([]netlink.Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nl.Execute(msg)
}

// attributes encodes in host byte order.
func attributes(build func(*netlink.AttributeEncoder)) []byte {
	ae := netlink.NewAttributeEncoder()
	build(ae)
	b, err := ae.Encode()
	if err != nil {
		// Only a value longer than 64 KiB gets here, and names and addresses are not.
		panic(err)
	}
	return b
}

func message(kind uint16, flags netlink.HeaderFlags, header, attrs []byte) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: flags},
		Data:   append(header, attrs...),
	}
}

// nested appends attributes as one nested attribute.
func nested(ae *netlink.AttributeEncoder, kind uint16, build func(*netlink.AttributeEncoder)) {
	ae.Bytes(unix.NLA_F_NESTED|kind, attributes(build))
}
