package kubelet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Pods with hostUsers: false (KEP-127) get a range of the node's ids each. The
// ranges lie above those that systemd (up to 0x6fffffff, "Users, Groups, UIDs
// and GIDs on systemd Systems") and adduser give out, and below 2^31, where
// programs begin to see negative numbers, and systemd's "foreign" ids.
const (
	firstUser  = 0x70000000
	usersOfPod = 1 << 16
	userRanges = 4094
	usersFile  = "users" // in the pod's directory; the range is free when that is gone
)

// podUsers is the pod's user namespace, nil for the node's. The range that a pod
// was given stays its own across restarts of its sandbox and of skiff.
func (k *Kubelet) podUsers(pod *v1.Pod) (*runtimeapi.UserNamespace, error) {
	if pod.Spec.HostUsers == nil || *pod.Spec.HostUsers {
		return nil, nil
	}
	k.userRanges.Lock()
	defer k.userRanges.Unlock()
	path := filepath.Join(k.podDir(string(pod.UID)), usersFile)
	first, err := readUsers(path)
	if errors.Is(err, fs.ErrNotExist) {
		first, err = k.freeUsers()
		if err == nil {
			err = writeUsers(path, first)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("giving pod %s a range of users: %w", podName(pod), err)
	}
	ids := []*runtimeapi.IDMapping{{ContainerId: 0, HostId: first, Length: usersOfPod}}
	return &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD, Uids: ids, Gids: ids}, nil
}

// freeUsers finds the first range that no pod on disk has.
func (k *Kubelet) freeUsers() (uint32, error) {
	files, err := filepath.Glob(filepath.Join(k.deps.DataDir, "pods", "*", usersFile))
	if err != nil {
		return 0, err
	}
	taken := map[uint32]bool{}
	for _, f := range files {
		first, err := readUsers(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the pod went meanwhile
		}
		if err != nil {
			return 0, err // two pods must never share one
		}
		taken[first] = true
	}
	for i := range uint32(userRanges) {
		if first := firstUser + i*usersOfPod; !taken[first] {
			return first, nil
		}
	}
	return 0, fmt.Errorf("all %d are taken", userRanges)
}

func readUsers(path string) (uint32, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	first, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 32)
	if err != nil || first < firstUser || (first-firstUser)%usersOfPod != 0 {
		return 0, fmt.Errorf("%s holds %q, which is no range of users; delete the pod that it belongs to", path, data)
	}
	return uint32(first), nil
}

func writeUsers(path string, first uint32) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(strconv.FormatUint(uint64(first), 10)+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// mapMounts lets the pod see the files of its mounts with the owners that they
// have on disk.
func mapMounts(mounts []*runtimeapi.Mount, users *runtimeapi.UserNamespace) {
	if users == nil {
		return
	}
	for _, m := range mounts {
		if m.HostPath != "" {
			m.UidMappings, m.GidMappings = users.Uids, users.Gids
		}
	}
}
