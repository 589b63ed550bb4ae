package oci

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// HandOver connects to the stream socket at path and sends one message with a descriptor. The calls are the kernel's
// own: package net takes its time to start, and init, which is this program too, would pay for it in each container.
func HandOver(path string, msg []byte, f *os.File) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	dir, name := filepath.Split(filepath.Clean(path))
	err = withShortPath(filepath.Clean(dir), name, func(addr *unix.SockaddrUnix) error { return unix.Connect(fd, addr) })
	if err != nil {
		return &os.PathError{Op: "connect", Path: path, Err: err}
	}
	for {
		n, err := unix.SendmsgN(fd, msg, unix.UnixRights(int(f.Fd())), nil, 0)
		if err == unix.EINTR {
			continue
		}
		if err == nil && n < len(msg) {
			_, err = unix.Write(fd, msg[n:])
		}
		return os.NewSyscallError("sendmsg", err)
	}
}
