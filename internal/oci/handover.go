package oci

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// HandOver connects to the stream socket at path and sends one message with a descriptor. The calls are the kernel's
// own: package net takes its time to start, and init, which is this program too, would pay for it in each container.
func HandOver(path string, msg []byte, f *os.File) error {
	to, err := dial(path)
	if err != nil {
		return err
	}
	defer to.Close()
	return pass(to, msg, f)
}

func dial(path string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	to := os.NewFile(uintptr(fd), path)
	dir, name := filepath.Split(filepath.Clean(path))
	err = withShortPath(filepath.Clean(dir), name, func(addr *unix.SockaddrUnix) error { return unix.Connect(fd, addr) })
	if err != nil {
		to.Close()
		return nil, &os.PathError{Op: "connect", Path: path, Err: err}
	}
	return to, nil
}

func pass(to *os.File, msg []byte, f *os.File) error {
	fd := int(to.Fd())
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
