package container

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/kernel/mount"
	"go.skiff.dev/skiff/internal/supervisor"
)

// Image volumes (KEP-4639): a mount names an image in place of a path of the
// node. The image is leased as long as the container is there, and mounted
// read-only inside of its mount namespace, as its root is.

// leaseImages finds and leases the images that a container mounts. A path in
// an image that is not there is found out now.
func (s *Service) leaseImages(ctx context.Context, rec *containerRecord) error {
	for i, m := range rec.Config.GetMounts() {
		if m.GetImage().GetImage() == "" {
			if m.GetImageSubPath() != "" {
				return invalid("mount at %q: image_sub_path needs an image", m.GetContainerPath())
			}
			continue
		}
		if err := checkImageMount(m); err != nil {
			return err
		}
		img, err := s.deps.Images.Resolve(m.GetImage().GetImage())
		if err != nil {
			return fmt.Errorf("image volume at %q: %w", m.GetContainerPath(), err)
		}
		rec.Images = append(rec.Images, mountedImage{Destination: mountPlace(m), ID: img.ID, SubPath: m.GetImageSubPath()})
		layers, _, err := s.deps.Images.Prepare(ctx, img.ID, imageLease(rec.ID, len(rec.Images)-1))
		if err != nil {
			return fmt.Errorf("image volume at %q: %w", m.GetContainerPath(), err)
		}
		rec.Images[len(rec.Images)-1].Lower = layers.Lower
		if m.GetImageSubPath() == "" {
			continue
		}
		fd, err := mount.Image(layers.Lower, m.GetImageSubPath(), -1)
		if err != nil {
			return invalid("mounts[%d]: image_sub_path %q of image %q: %v", i, m.GetImageSubPath(), m.GetImage().GetImage(), err)
		}
		unix.Close(fd)
	}
	return nil
}

func checkImageMount(m *runtimeapi.Mount) error {
	switch at := m.GetContainerPath(); {
	case m.GetHostPath() != "":
		return invalid("mount at %q names both a host path and an image", at)
	case !m.GetReadonly():
		return invalid("mount at %q: an image can be mounted only with readonly", at)
	case m.GetPropagation() != runtimeapi.MountPropagation_PROPAGATION_PRIVATE:
		return invalid("mount at %q: an image can be mounted only with private propagation", at)
	}
	return nil
}

// imageLease is the key of the i-th image that a container mounts.
func imageLease(id string, i int) string { return id + "/" + itoa(i) }

func imageLeases(rec *containerRecord) []string {
	var keys []string
	for i := range rec.Images {
		keys = append(keys, imageLease(rec.ID, i))
	}
	return keys
}

func (s *Service) releaseImages(rec *containerRecord) {
	for _, key := range imageLeases(rec) {
		s.deps.Images.Release(key)
	}
}

func imageMounts(rec *containerRecord) []supervisor.ImageMount {
	var out []supervisor.ImageMount
	for _, m := range rec.Images {
		out = append(out, supervisor.ImageMount{Destination: m.Destination, Lower: m.Lower, SubPath: m.SubPath})
	}
	return out
}

// mountStatus is what was asked for, with the image that a volume was found to
// be (KEP-5365).
func mountStatus(rec *containerRecord) []*runtimeapi.Mount {
	if len(rec.Images) == 0 {
		return rec.Config.GetMounts()
	}
	byPlace := map[string]string{}
	for _, m := range rec.Images {
		byPlace[m.Destination] = m.ID
	}
	var out []*runtimeapi.Mount
	for _, m := range rec.Config.GetMounts() {
		if id := byPlace[mountPlace(m)]; id != "" && m.GetImage() != nil {
			m = proto.CloneOf(m)
			m.Image.ImageRef = id
		}
		out = append(out, m)
	}
	return out
}
