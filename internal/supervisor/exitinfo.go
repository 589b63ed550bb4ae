package supervisor

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The PIDFD_GET_INFO request, include/uapi/linux/pidfd.h (Linux 6.13;
// PIDFD_INFO_EXIT since 6.15).
const (
	pidfdInfoExit = 1 << 3
	pidfdInfoSize = 64 // PIDFD_INFO_SIZE_VER0
	// _IOWR(PIDFS_IOCTL_MAGIC 0xFF, 11, struct pidfd_info)
	pidfdGetInfo = 3<<30 | pidfdInfoSize<<16 | 0xFF<<8 | 11
)

// pidfdInfo is the kernel's struct pidfd_info.
type pidfdInfo struct {
	mask     uint64
	cgroupid uint64
	_        [11]uint32 // pid, tgid, ppid, the eight user and group ids
	exitCode int32
	// The kernel copies at most the size that the request names.
}

// exitInfo asks how a process that was not a child has ended.
func exitInfo(fd int) (unix.WaitStatus, bool) {
	info := pidfdInfo{mask: pidfdInfoExit}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
	if errno != 0 || info.mask&pidfdInfoExit == 0 {
		return 0, false
	}
	return unix.WaitStatus(info.exitCode), true
}

// zombieStatus reads the exit code of a process that ended and was not reaped:
// field 52 of /proc/PID/stat (Linux 3.5), with its start time, field 22.
func zombieStatus(pid int, start uint64) (unix.WaitStatus, bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 50 || fields[0][0] != 'Z' || string(fields[19]) != strconv.FormatUint(start, 10) {
		return 0, false
	}
	code, err := strconv.Atoi(string(fields[49]))
	return unix.WaitStatus(code), err == nil
}
