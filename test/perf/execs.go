package main

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel's process events connector (linux/cn_proc.h): with it the time of
// each exec is the kernel's own, and nothing has to be built into a program.
const (
	connectorProc  = 1 // CN_IDX_PROC, also the multicast group
	mcastListen    = 1 // PROC_CN_MCAST_LISTEN
	eventFork      = 1 // PROC_EVENT_FORK: parent's pid and tgid, child's pid and tgid
	eventExec      = 2 // PROC_EVENT_EXEC: pid and tgid
	headerBytes    = unix.NLMSG_HDRLEN + 20
	eventBytes     = 24 // what, cpu, timestamp, pid, tgid
	receiveTimeout = 100 * time.Millisecond
)

// execs records which process executes a program when.
type execs struct{ fd int }

// watchExecs begins to record.
func watchExecs() (*execs, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_CONNECTOR)
	if err != nil {
		return nil, fmt.Errorf("opening the process events connector: %w", err)
	}
	e := &execs{fd}
	if err := e.subscribe(); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listening to process events: %w", err)
	}
	return e, nil
}

func (e *execs) subscribe() error {
	if err := unix.Bind(e.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: connectorProc}); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(e.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20); err != nil {
		return err
	}
	limit := unix.NsecToTimeval(receiveTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(e.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return err
	}
	message := make([]byte, headerBytes+4)
	order := binary.NativeEndian
	order.PutUint32(message, uint32(len(message)))
	order.PutUint16(message[4:], unix.NLMSG_DONE)
	order.PutUint32(message[16:], connectorProc)
	order.PutUint32(message[20:], 1)
	order.PutUint16(message[32:], 4)
	order.PutUint32(message[headerBytes:], mcastListen)
	return unix.Sendto(e.fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// close ends the recording.
func (e *execs) close() error { return unix.Close(e.fd) }

// below returns the times of the execs since the last call, by process, of
// those that descend from root.
func (e *execs) below(root int) (map[int][]time.Duration, error) {
	found := map[int][]time.Duration{}
	family := map[int]bool{root: true}
	buffer := make([]byte, 4096)
	order := binary.NativeEndian
	for {
		n, _, err := unix.Recvfrom(e.fd, buffer, 0)
		if err == unix.EINTR {
			continue
		}
		if err == unix.EAGAIN {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading process events: %w", err)
		}
		if n < headerBytes+eventBytes {
			continue
		}
		event := buffer[headerBytes:n]
		switch order.Uint32(event) {
		case eventFork:
			if parent := int(order.Uint32(event[20:])); family[parent] && n >= headerBytes+eventBytes+8 {
				family[int(order.Uint32(event[28:]))] = true
			}
		case eventExec:
			if pid := int(order.Uint32(event[20:])); family[pid] && pid != root {
				found[pid] = append(found[pid], time.Duration(order.Uint64(event[8:])))
			}
		}
	}
}
