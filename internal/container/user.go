package container

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/kernel/mount"
)

// maxAccounts bounds what is read of an image's passwd and group (CVE-2023-25153).
const maxAccounts = 1 << 20

// identity is who a container's process runs as.
type identity struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
	Home   string   `json:"home,omitempty"`
}

// account and group are entries of passwd(5) and group(5).
type account struct {
	name     string
	uid, gid uint32
	home     string
}

type group struct {
	name    string
	gid     uint32
	members []string
}

// accounts are an image's users.
type accounts struct {
	users  []account
	groups []group
}

// parseID is the one parser of user and group numbers: decimal digits, no sign,
// no space, at most 2^31-1. A number that wraps around becomes root
// (CVE-2024-40635); a text that is taken for a number becomes anybody.
func parseID(text string) (uint32, error) {
	if text == "" || len(text) > 10 {
		return 0, fmt.Errorf("%q is no user or group number of 0 to %d", text, math.MaxInt32)
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("%q is no user or group number of 0 to %d", text, math.MaxInt32)
		}
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > math.MaxInt32 {
		return 0, fmt.Errorf("%q is no user or group number of 0 to %d", text, math.MaxInt32)
	}
	return uint32(n), nil
}

func checkID(n int64) (uint32, error) { return parseID(strconv.FormatInt(n, 10)) }

// isNumber tells a number, also a bad one, from a name.
func isNumber(text string) bool {
	return strings.Trim(text, "+-0123456789") == "" && text != ""
}

// resolveUser finds who the process runs as: what the security context says, or
// else what the image says ("user", "user:group", names or numbers).
func resolveUser(sc *runtimeapi.LinuxContainerSecurityContext, imageUser string, known accounts) (identity, error) {
	user, grp := imageUser, ""
	if name, group, ok := strings.Cut(imageUser, ":"); ok {
		user, grp = name, group
		if grp == "" || strings.Contains(grp, ":") {
			return identity{}, fmt.Errorf("user %q is not of the form user or user:group", imageUser)
		}
	}
	switch {
	case sc.GetRunAsUser() != nil:
		user, grp = strconv.FormatInt(sc.GetRunAsUser().GetValue(), 10), ""
	case sc.GetRunAsUsername() != "":
		user, grp = sc.GetRunAsUsername(), ""
	}
	if sc.GetRunAsGroup() != nil {
		// The CRI: "otherwise, the runtime MUST error". The group would go with
		// whatever user the image names.
		if sc.GetRunAsUser() == nil && sc.GetRunAsUsername() == "" {
			return identity{}, fmt.Errorf("run_as_group %d needs run_as_user or run_as_username", sc.GetRunAsGroup().GetValue())
		}
		grp = strconv.FormatInt(sc.GetRunAsGroup().GetValue(), 10)
	}
	who, name, err := known.user(user)
	if err != nil {
		return identity{}, err
	}
	if grp != "" {
		if who.GID, err = known.group(grp); err != nil {
			return identity{}, err
		}
	}
	return who, who.addGroups(sc, name, known)
}

// user finds a user by name or number; the name is empty where passwd has none.
func (a accounts) user(text string) (identity, string, error) {
	if text == "" {
		text = "0"
	}
	if !isNumber(text) {
		for _, u := range a.users {
			if u.name == text {
				return identity{UID: u.uid, GID: u.gid, Home: u.home}, u.name, nil
			}
		}
		return identity{}, "", fmt.Errorf("user %q is not in the image's /etc/passwd", text)
	}
	uid, err := parseID(text)
	if err != nil {
		return identity{}, "", err
	}
	for _, u := range a.users {
		if u.uid == uid {
			return identity{UID: uid, GID: u.gid, Home: u.home}, u.name, nil
		}
	}
	return identity{UID: uid}, "", nil
}

func (a accounts) group(text string) (uint32, error) {
	if isNumber(text) {
		return parseID(text)
	}
	for _, g := range a.groups {
		if g.name == text {
			return g.gid, nil
		}
	}
	return 0, fmt.Errorf("group %q is not in the image's /etc/group", text)
}

// addGroups adds the supplementary groups: the security context's and, unless
// the policy is strict (KEP-3619), those that the image's group file gives the user.
func (w *identity) addGroups(sc *runtimeapi.LinuxContainerSecurityContext, name string, known accounts) error {
	add := func(gid uint32) {
		if !slices.Contains(w.Groups, gid) {
			w.Groups = append(w.Groups, gid)
		}
	}
	add(w.GID)
	if sc.GetSupplementalGroupsPolicy() != runtimeapi.SupplementalGroupsPolicy_Strict && name != "" {
		for _, g := range known.groups {
			if slices.Contains(g.members, name) {
				add(g.gid)
			}
		}
	}
	for _, n := range sc.GetSupplementalGroups() {
		gid, err := checkID(n)
		if err != nil {
			return fmt.Errorf("supplemental group: %w", err)
		}
		add(gid)
	}
	return nil
}

// readAccounts reads an image's passwd and group through descriptors: links in
// the image stay inside it (CVE-2024-5154).
func readAccounts(lower []string) (accounts, error) {
	root, err := openImage(lower)
	if err != nil {
		return accounts{}, err
	}
	defer unix.Close(root)
	var a accounts
	if err := readLines(root, "etc/passwd", a.addUser); err != nil {
		return accounts{}, err
	}
	err = readLines(root, "etc/group", a.addGroup)
	return a, err
}

// addUser takes a line of passwd; one that is broken names nobody.
func (a *accounts) addUser(f []string) {
	if len(f) < 6 {
		return
	}
	uid, uerr := parseID(f[2])
	gid, gerr := parseID(f[3])
	if uerr == nil && gerr == nil {
		a.users = append(a.users, account{name: f[0], uid: uid, gid: gid, home: f[5]})
	}
}

// addGroup takes a line of group.
func (a *accounts) addGroup(f []string) {
	if len(f) < 4 {
		return
	}
	if gid, err := parseID(f[2]); err == nil {
		a.groups = append(a.groups, group{name: f[0], gid: gid, members: strings.Split(f[3], ",")})
	}
}

// openImage opens the root of an image's layers, without attaching a mount.
func openImage(lower []string) (int, error) {
	switch len(lower) {
	case 0:
		return -1, errors.New("the image has no layers")
	case 1: // overlay wants two
		fd, err := unix.Open(lower[0], unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, fmt.Errorf("opening the image: %w", err)
		}
		return fd, nil
	}
	fd, err := mount.Overlay(lower, "", "", false, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID)
	if err != nil {
		return -1, fmt.Errorf("opening the image: %w", err)
	}
	return fd, nil
}

// readLines calls each with the fields of every line; a file that is missing
// has no lines, one that is no regular file is refused.
func readLines(root int, name string, each func([]string)) error {
	fd, err := mount.Root{FD: root}.Open(name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening /%s in the image: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("reading /%s in the image: not a regular file", name)
	}
	if info.Size() > maxAccounts {
		return fmt.Errorf("reading /%s in the image: %d bytes, more than the limit of %d", name, info.Size(), maxAccounts)
	}
	return eachLine(f, each)
}

func eachLine(r io.Reader, each func([]string)) error {
	lines := bufio.NewScanner(io.LimitReader(r, maxAccounts))
	lines.Buffer(nil, maxAccounts+1)
	for lines.Scan() {
		text := strings.TrimSpace(lines.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		each(strings.Split(text, ":"))
	}
	return lines.Err()
}
