package container

import (
	"context"
	"encoding/base64"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/image"
	"go.skiff.dev/skiff/internal/image/registry"
)

// ListImages lists images, or the one that the filter names.
func (s *Service) ListImages(_ context.Context, req *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	all, err := s.listImages(req.GetFilter())
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ListImagesResponse{Images: all}, nil
}

func (s *Service) listImages(filter *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	if name := filter.GetImage().GetImage(); name != "" {
		img, err := s.deps.Images.Resolve(name)
		if errors.Is(err, image.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, statusOf(err, "listing images")
		}
		return []*runtimeapi.Image{criImage(img)}, nil
	}
	var out []*runtimeapi.Image
	for _, img := range s.deps.Images.List() {
		out = append(out, criImage(img))
	}
	return out, nil
}

// StreamImages is ListImages in pieces.
func (s *Service) StreamImages(req *runtimeapi.StreamImagesRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamImagesResponse]) error {
	all, err := s.listImages(req.GetFilter())
	if err != nil {
		return err
	}
	return inPieces(all, func(piece []*runtimeapi.Image) error {
		return stream.Send(&runtimeapi.StreamImagesResponse{Images: piece})
	})
}

func criImage(img image.Image) *runtimeapi.Image {
	out := &runtimeapi.Image{
		Id: img.ID, RepoTags: img.Tags, RepoDigests: img.Digests, Size: uint64(max(img.Size, 0)), Pinned: img.Pinned,
		Spec: &runtimeapi.ImageSpec{},
	}
	user, _, _ := strings.Cut(img.Config.User, ":")
	if uid, err := parseID(user); err == nil {
		out.Uid = &runtimeapi.Int64Value{Value: int64(uid)}
	} else {
		// A bad number stays a text: nobody takes it for a user id.
		out.Username = user
	}
	return out
}

// ImageStatus tells of one image; of one that is not there, nothing.
func (s *Service) ImageStatus(_ context.Context, req *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	name := req.GetImage().GetImage()
	img, err := s.deps.Images.Resolve(name)
	if errors.Is(err, image.ErrNotFound) {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	if err != nil {
		return nil, statusOf(err, "reading image %q", name)
	}
	resp := &runtimeapi.ImageStatusResponse{Image: criImage(img)}
	if req.GetVerbose() {
		// By the name under which containerd and CRI-O show it.
		spec, err := s.deps.Images.Spec(img.ID)
		if err != nil {
			return nil, statusOf(err, "reading image %q", name)
		}
		resp.Info = infoMap(map[string]any{"imageSpec": spec, "config": img.Config, "platform": img.Platform, "diffIDs": img.DiffIDs, "imported": img.Imported})
	}
	return resp, nil
}

// PullImage fetches an image and returns the reference by which containers name it.
func (s *Service) PullImage(ctx context.Context, req *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	name := req.GetImage().GetImage()
	if err := s.knowHandler(req.GetImage().GetRuntimeHandler()); err != nil {
		return nil, err
	}
	auth, err := authOf(req.GetAuth(), name)
	if err != nil {
		return nil, err
	}
	img, err := s.deps.Images.Pull(ctx, name, image.PullOptions{Auth: auth})
	if err != nil {
		return nil, coded(err)
	}
	return &runtimeapi.PullImageResponse{ImageRef: img.ID}, nil
}

// authOf takes what a client gives for the registry of the image that name names. Credentials that say that they are
// for another server stay here.
func authOf(a *runtimeapi.AuthConfig, name string) (image.Auth, error) {
	if a.GetServerAddress() != "" {
		ref, err := image.ParseReference(name)
		if err != nil {
			return image.Auth{}, statusOf(err, "pulling image %q", name)
		}
		if !registry.SameServer(a.GetServerAddress(), ref.Domain) {
			return image.Auth{}, nil
		}
	}
	out := image.Auth{
		Username: a.GetUsername(), Password: a.GetPassword(), IdentityToken: a.GetIdentityToken(), RegistryToken: a.GetRegistryToken(),
	}
	if out == (image.Auth{}) && a.GetAuth() != "" {
		plain, err := base64.StdEncoding.DecodeString(a.GetAuth())
		if err != nil {
			return out, invalid("auth is not base64: %v", err)
		}
		user, password, ok := strings.Cut(string(plain), ":")
		if !ok {
			return out, invalid("auth is not of the form user:password")
		}
		out.Username, out.Password = user, strings.Trim(password, "\x00")
	}
	return out, nil
}

// RemoveImage removes an image with all its names, by whichever of them it is
// named: the CRI knows no tags apart from their image. One that is not there is
// no error.
func (s *Service) RemoveImage(_ context.Context, req *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	name := req.GetImage().GetImage()
	img, err := s.deps.Images.Resolve(name)
	if err == nil {
		err = s.deps.Images.Remove(img.ID)
	}
	if err != nil && !errors.Is(err, image.ErrNotFound) {
		return nil, coded(err)
	}
	return &runtimeapi.RemoveImageResponse{}, nil
}

// ImageFsInfo tells what images and writable layers use.
func (s *Service) ImageFsInfo(context.Context, *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	info := s.deps.Images.FsInfo()
	now := time.Now().UnixNano()
	bytes, inodes := diskUsage(s.containersDir(), time.Time{})
	return &runtimeapi.ImageFsInfoResponse{
		ImageFilesystems: []*runtimeapi.FilesystemUsage{{
			Timestamp: now, FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: info.Dir},
			UsedBytes: u64(uint64(max(info.UsedBytes, 0))), InodesUsed: u64(uint64(max(info.Inodes, 0))),
		}},
		ContainerFilesystems: []*runtimeapi.FilesystemUsage{{
			Timestamp: now, FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: filepath.Clean(s.deps.Dir)},
			UsedBytes: u64(bytes), InodesUsed: u64(inodes),
		}},
	}, nil
}

func u64(v uint64) *runtimeapi.UInt64Value { return &runtimeapi.UInt64Value{Value: v} }
