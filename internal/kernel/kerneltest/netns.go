package kerneltest

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/netlink"
	"go.skiff.dev/skiff/internal/kernel/thread"
)

// NewNetns makes one more network namespace, say for a pod or for another host.
func NewNetns(tb testing.TB) *os.File {
	tb.Helper()
	var f *os.File
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		var err error
		f, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = f.Close() })
	return f
}

// InNetns runs f on a thread in the namespace; sockets that f opens stay there.
func InNetns(netns *os.File, f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// onThread runs f on a thread that ends with it.
func onThread(f func() error) error {
	_, err := thread.Apart(func() (struct{}, error) { return struct{}{}, f() })
	return err
}

// ServeTCP answers each TCP connection to addr in the namespace (nil: the
// test's own) with a greeting and the address of the client.
func ServeTCP(tb testing.TB, netns *os.File, addr string, greeting ...string) {
	tb.Helper()
	listen := func() error {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		tb.Cleanup(func() { _ = l.Close() })
		go greet(l, greeting)
		return nil
	}
	if err := in(netns, listen); err != nil {
		tb.Fatal(err)
	}
}

func greet(l net.Listener, greeting []string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		text := append(slices.Clone(greeting), c.RemoteAddr().(*net.TCPAddr).IP.String())
		_, _ = io.WriteString(c, strings.Join(text, " "))
		_ = c.Close()
	}
}

// ServeUDP answers each datagram with the greeting.
func ServeUDP(tb testing.TB, netns *os.File, addr, greeting string) {
	tb.Helper()
	listen := func() error {
		c, err := net.ListenPacket("udp", addr)
		if err != nil {
			return err
		}
		tb.Cleanup(func() { _ = c.Close() })
		go func() {
			buf := make([]byte, 2048)
			for {
				_, from, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = c.WriteTo([]byte(greeting), from)
			}
		}()
		return nil
	}
	if err := in(netns, listen); err != nil {
		tb.Fatal(err)
	}
}

func in(netns *os.File, f func() error) error {
	if netns == nil {
		return f()
	}
	return InNetns(netns, f)
}

// Connections are made in microseconds here; a packet that is dropped is sent
// again after a second. An answer comes when a loaded machine lets it.
const (
	patience = 3 * time.Second
	answered = 20 * time.Second
)

// Ask connects by TCP and returns all that the server says.
func Ask(addr string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(answered))
	b, err := io.ReadAll(c)
	return string(b), err
}

// AskFrom is Ask in a namespace; a failure fails the test.
func AskFrom(tb testing.TB, netns *os.File, addr string) string {
	tb.Helper()
	answer, err := TryFrom(netns, addr)
	if err != nil {
		tb.Errorf("asking %s: %v", addr, err)
	}
	return answer
}

// TryFrom is Ask in a namespace.
func TryFrom(netns *os.File, addr string) (answer string, err error) {
	err = in(netns, func() (err error) { answer, err = Ask(addr); return err })
	return answer, err
}

// Uplink joins the test's own namespace, as 192.0.2.1, to another host with
// the address 192.0.2.2, which has it as its gateway.
func Uplink(tb testing.TB, outside *os.File) {
	tb.Helper()
	if err := uplink(outside); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		node, err := netlink.DialRoute(nil)
		if err == nil {
			err = errors.Join(node.Do(netlink.DeleteLink("up0")), node.Close())
		}
		if err != nil {
			tb.Error(err)
		}
	})
}

func uplink(outside *os.File) error {
	node, err := netlink.DialRoute(nil)
	if err != nil {
		return err
	}
	defer func() { _ = node.Close() }()
	other, err := netlink.DialRoute(outside)
	if err != nil {
		return err
	}
	defer func() { _ = other.Close() }()
	mac := net.HardwareAddr{0x0a, 0x58, 192, 0, 2, 2}
	const lo = 1
	if err := node.Do(netlink.SetUp(lo), netlink.AddVeth(netlink.Veth{Name: "up0", MTU: 1500, Peer: "eth0", PeerMAC: mac, PeerNS: outside})); err != nil {
		return err
	}
	up, err := node.Link("up0")
	if err != nil {
		return err
	}
	eth, err := other.Link("eth0")
	if err != nil {
		return err
	}
	if err := other.Do(netlink.SetUp(lo), netlink.AddAddress(eth.Index, netip.MustParsePrefix("192.0.2.2/24")), netlink.SetUp(eth.Index)); err != nil {
		return err
	}
	if err := node.Do(netlink.AddAddress(up.Index, netip.MustParsePrefix("192.0.2.1/24")), netlink.SetUp(up.Index)); err != nil {
		return err
	}
	return other.Do(netlink.AddRoute(netlink.Route{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.0.2.1"), Link: eth.Index}))
}
