// Package netdev moves network devices from one network namespace into another (linux.netDevices of runtime-spec).
//
// It speaks rtnetlink itself, in the few messages that this takes: package netlink and what it stands on would be paid by
// every start of skiff-oci. Message layouts are those of linux/if_link.h and linux/rtnetlink.h.
package netdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/namespace"
	"go.skiff.dev/skiff/internal/kernel/thread"
)

// ValidName follows the kernel (net/core/dev.c, dev_valid_name); %d stands for the first number that is free.
func ValidName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) < unix.IFNAMSIZ && !strings.ContainsAny(name, "/: \t\n\v\f\r") &&
		!strings.Contains(strings.Replace(name, "%d", "", 1), "%")
}

// Move moves the caller's device name into the network namespace target and calls it as there. Hardware address and MTU
// stay by themselves; permanent addresses of global scope, which the kernel drops, are given to it again. It is up then.
// It is an error if there is a device of that name.
func Move(name, as string, target *os.File) error {
	index, err := indexOf(name)
	if err != nil {
		return err
	}
	addresses, err := addressesOf(index)
	if err != nil {
		return err
	}
	before, err := within(target, indexes)
	if err != nil {
		return err
	}
	for other := range before {
		if other == as {
			return fmt.Errorf("moving device %q: there is a device %q already: %w", name, as, unix.EEXIST)
		}
	}
	body := append(ifinfo(index, 0, 0), attr(unix.IFLA_NET_NS_FD, binary.NativeEndian.AppendUint32(nil, uint32(target.Fd())))...)
	body = append(body, attr(unix.IFLA_IFNAME, append([]byte(as), 0))...)
	if err := request(unix.RTM_NEWLINK, 0, body); err != nil {
		return fmt.Errorf("moving device %q: %w", name, err)
	}
	_, err = within(target, func() (map[string]int, error) {
		now, err := indexes()
		if err != nil {
			return nil, err
		}
		for n, i := range now {
			if _, old := before[n]; !old {
				return nil, setUp(n, i, addresses)
			}
		}
		return nil, fmt.Errorf("moving device %q: it did not arrive", name)
	})
	return err
}

func setUp(name string, index int, addresses [][]byte) error {
	for _, a := range addresses {
		binary.NativeEndian.PutUint32(a[4:], uint32(index))
		if err := request(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, a); err != nil {
			return fmt.Errorf("giving device %q an address: %w", name, err)
		}
	}
	if err := request(unix.RTM_NEWLINK, 0, ifinfo(index, unix.IFF_UP, unix.IFF_UP)); err != nil {
		return fmt.Errorf("setting device %q up: %w", name, err)
	}
	return nil
}

// within runs f in the namespace.
func within(ns *os.File, f func() (map[string]int, error)) (map[string]int, error) {
	return thread.Apart(func() (map[string]int, error) {
		if err := namespace.Enter(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return nil, err
		}
		return f()
	})
}

func indexOf(name string) (int, error) {
	all, err := indexes()
	if err != nil {
		return 0, err
	}
	i, ok := all[name]
	if !ok {
		return 0, fmt.Errorf("device %q: %w", name, unix.ENODEV)
	}
	return i, nil
}

// indexes lists the devices of the thread's namespace.
func indexes() (map[string]int, error) {
	out := map[string]int{}
	err := dump(unix.RTM_GETLINK, func(m *syscall.NetlinkMessage, attrs []syscall.NetlinkRouteAttr) {
		for _, a := range attrs {
			if a.Attr.Type == unix.IFLA_IFNAME {
				out[strings.TrimRight(string(a.Value), "\x00")] = int(binary.NativeEndian.Uint32(m.Data[4:]))
			}
		}
	})
	return out, err
}

// addressesOf returns the bodies of messages that give a device its permanent addresses of global scope.
func addressesOf(index int) (out [][]byte, err error) {
	err = dump(unix.RTM_GETADDR, func(m *syscall.NetlinkMessage, attrs []syscall.NetlinkRouteAttr) {
		flags := uint32(m.Data[2])
		body := append([]byte{}, m.Data[:8]...) // family, prefix length, flags, scope, index
		for _, a := range attrs {
			switch a.Attr.Type {
			case unix.IFA_FLAGS:
				flags = binary.NativeEndian.Uint32(a.Value)
			case unix.IFA_ADDRESS, unix.IFA_LOCAL, unix.IFA_BROADCAST, unix.IFA_ANYCAST:
				body = append(body, attr(a.Attr.Type, a.Value)...)
			}
		}
		if int(binary.NativeEndian.Uint32(m.Data[4:])) == index && m.Data[3] == unix.RT_SCOPE_UNIVERSE && flags&unix.IFA_F_PERMANENT != 0 {
			out = append(out, body)
		}
	})
	return out, err
}

func dump(kind int, each func(*syscall.NetlinkMessage, []syscall.NetlinkRouteAttr)) error {
	raw, err := syscall.NetlinkRIB(kind, unix.AF_UNSPEC)
	if err != nil {
		return fmt.Errorf("listing network devices: %w", err)
	}
	msgs, err := syscall.ParseNetlinkMessage(raw)
	if err != nil {
		return fmt.Errorf("listing network devices: %w", err)
	}
	for i := range msgs {
		m := &msgs[i]
		if m.Header.Type != unix.RTM_NEWLINK && m.Header.Type != unix.RTM_NEWADDR {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(m)
		if err != nil {
			return fmt.Errorf("listing network devices: %w", err)
		}
		each(m, attrs)
	}
	return nil
}

// ifinfo is struct ifinfomsg.
func ifinfo(index int, flags, change uint32) []byte {
	b := make([]byte, 16)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], change)
	return b
}

// attr is struct rtattr with its value, padded to four bytes.
func attr(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// request sends one message and waits for its answer.
func request(kind, flags uint16, body []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	msg := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	msg = binary.NativeEndian.AppendUint16(msg, kind)
	msg = binary.NativeEndian.AppendUint16(msg, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	msg = append(append(msg, make([]byte, 8)...), body...) // sequence number and port: one question, one answer
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return os.NewSyscallError("recvfrom", err)
	}
	if n < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(buf[4:]) != unix.NLMSG_ERROR {
		return errors.New("rtnetlink: an answer that is none")
	}
	if code := int32(binary.NativeEndian.Uint32(buf[unix.NLMSG_HDRLEN:])); code != 0 {
		return fmt.Errorf("rtnetlink: %w", unix.Errno(-code))
	}
	return nil
}
