package volume

import (
	"fmt"
	"os"
	"strconv"

	v1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// setupEmptyDir makes an empty directory that any user of the pod may write to,
// on the disk or in memory.
func (m *Manager) setupEmptyDir(pod *v1.Pod, v *v1.Volume, path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("making empty directory: %w", err)
	}
	switch v.EmptyDir.Medium {
	case v1.StorageMediumDefault:
	case v1.StorageMediumMemory:
		if err := mountMemory(path, memorySize(pod, v)); err != nil {
			return err
		}
	default:
		return fmt.Errorf("unknown storage medium %q", v.EmptyDir.Medium)
	}
	return ownEmptyDir(path, fsGroup(pod))
}

// ownEmptyDir opens the directory to all, as upstream does, and with an fsGroup
// gives it to the group with set-group-id. It is done once: files that the pod
// made later keep what the pod gave them.
func ownEmptyDir(path string, group *int64) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("examining empty directory: %w", err)
	}
	mode := os.FileMode(0o777)
	if group != nil {
		if err := os.Chown(path, -1, int(*group)); err != nil {
			return fmt.Errorf("giving empty directory to group %d: %w", *group, err)
		}
		mode |= os.ModeSetgid
	}
	if info.Mode().Perm() == 0o777 && info.Mode()&os.ModeSetgid == mode&os.ModeSetgid {
		return nil
	}
	return os.Chmod(path, mode)
}

// memorySize is the size in bytes of a memory volume: its limit, and no more
// than the pod may have; 0: the kernel's default.
func memorySize(pod *v1.Pod, v *v1.Volume) int64 {
	size := int64(0)
	if limit := v.EmptyDir.SizeLimit; limit != nil {
		size = limit.Value()
	}
	limits := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{})
	memory, ok := limits[v1.ResourceMemory]
	for _, c := range pod.Spec.Containers {
		if _, limited := c.Resources.Limits[v1.ResourceMemory]; !limited && pod.Spec.Resources == nil {
			ok = false
		}
	}
	if ok && memory.Value() > 0 && (size == 0 || memory.Value() < size) {
		size = memory.Value()
	}
	return size
}

func sizeOption(size int64) []string {
	options := []string{"mode=0777"}
	if size > 0 {
		options = append(options, "size="+strconv.FormatInt(size, 10))
	}
	return options
}
