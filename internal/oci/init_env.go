package oci

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// reopenNull takes standard files that are the host's null device over to the container's own, so that no descriptor
// of the host's /dev stays. What the container's path leads to is looked at first (CVE-2025-31133).
func (s *initState) reopenNull() {
	want := unix.Mkdev(1, 3)
	var st unix.Stat_t
	own := -1
	for fd := range 3 {
		if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != want {
			continue
		}
		if own < 0 {
			var err error
			if own, err = unix.Open("/dev/null", unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
				return
			}
			if unix.Fstat(own, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != want {
				break
			}
			if _, err := unix.FcntlInt(uintptr(own), unix.F_SETFL, 0); err != nil {
				break
			}
		}
		_ = unix.Dup3(own, fd, 0) // the old one serves as well
	}
	unix.Close(own)
}

// passwdLimit bounds what an image can make us read (CVE-2026-47262's family).
const passwdLimit = 1 << 20

// addHome sets HOME where the configuration does not, as every runtime does: from the container's own /etc/passwd, else
// "/".
func (s *initState) addHome() {
	p := &s.process
	p.env = lastOfEach(p.env)
	i := slices.IndexFunc(p.env, func(e string) bool { return strings.HasPrefix(e, "HOME=") })
	if i >= 0 && p.env[i] != "HOME=" {
		return
	}
	if i >= 0 {
		p.env = slices.Delete(p.env, i, i+1)
	}
	home := "/"
	if text, err := readPlain("/etc/passwd", passwdLimit); err == nil {
		home = homeOf(string(text), p.uid)
	}
	p.env = append(p.env, "HOME="+home)
}

// lastOfEach keeps the last value of each variable, in the place of the first: programs differ in which they take.
func lastOfEach(env []string) []string {
	at := map[string]int{}
	out := make([]string, 0, len(env)+1)
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if i, ok := at[name]; ok {
			out[i] = e
			continue
		}
		at[name] = len(out)
		out = append(out, e)
	}
	return out
}

// readPlain reads a regular file only, up to a limit: a pipe or a device of the image would hold init up. It does not
// make an os.File, which for a descriptor that does not block would set up Go's poller, for this one file.
func readPlain(path string, limit int) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, unix.EINVAL
	}
	text := make([]byte, min(int(st.Size), limit))
	n, err := unix.Pread(fd, text, 0)
	return text[:max(n, 0)], err
}

func homeOf(passwd string, uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	for line := range strings.Lines(passwd) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) == 7 && f[2] == id && f[5] != "" {
			return f[5]
		}
	}
	return "/"
}
