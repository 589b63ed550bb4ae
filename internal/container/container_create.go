package container

import (
	"cmp"
	"context"
	"os"
	"path"
	"path/filepath"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/image"
)

// CreateContainer makes a container in a sandbox; nothing runs yet.
func (s *Service) CreateContainer(ctx context.Context, req *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	config := req.GetConfig()
	if config == nil || config.GetMetadata() == nil || config.GetMetadata().GetName() == "" {
		return nil, invalid("container config must include metadata with a name")
	}
	if config.GetImage().GetImage() == "" {
		return nil, invalid("container config must name an image")
	}
	box, err := s.findSandbox(req.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	owner := box.rec.Load()
	if !owner.Ready {
		return nil, status.Errorf(codes.FailedPrecondition, "sandbox %q is not ready", owner.ID)
	}
	if err := s.checkContainer(config, owner, cmp.Or(req.GetSandboxConfig(), owner.Config)); err != nil {
		return nil, err
	}
	rec := &containerRecord{
		Version: recordVersion, ID: newID(), SandboxID: owner.ID, BootID: s.bootID, Config: config,
		CreatedAt: time.Now(), State: runtimeapi.ContainerState_CONTAINER_CREATED,
	}
	name := containerName(owner.ID, config.GetMetadata())
	if err := s.reserve(name, rec.ID); err != nil {
		return nil, err
	}
	var back undo
	back.add(func() { s.releaseName(name, rec.ID) })
	if err := s.buildContainer(ctx, box, rec, &back); err != nil {
		back.run()
		return nil, statusOf(err, "creating container %q", config.GetMetadata().GetName())
	}
	s.sendEvent(rec.ID, owner.ID, runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT)
	return &runtimeapi.CreateContainerResponse{ContainerId: rec.ID}, nil
}

// buildContainer takes the steps of a container's creation; back undoes them.
func (s *Service) buildContainer(ctx context.Context, box *sandbox, rec *containerRecord, back *undo) error {
	owner := box.rec.Load()
	img, err := s.deps.Images.Resolve(rec.Config.GetImage().GetImage())
	if err != nil {
		return err
	}
	rec.ImageID, rec.ImageRef = img.ID, imageRef(img)
	layers, release, err := s.deps.Images.Prepare(ctx, img.ID, rec.ID)
	if err != nil {
		return err
	}
	back.add(release)
	rec.Lower = layers.Lower
	rec.CgroupPath = path.Join(s.cgroupParent(owner.Config), rec.ID)
	rec.StopSignal = cmp.Or(stopSignalName(rec.Config.GetStopSignal()), img.Config.StopSignal)
	if p := rec.Config.GetLogPath(); p != "" && owner.Config.GetLogDirectory() != "" {
		if !filepath.IsLocal(p) {
			return invalid("log_path %q is not below the sandbox's log_directory", p)
		}
		rec.LogPath = filepath.Join(owner.Config.GetLogDirectory(), p)
	}
	if rec.User, err = findUser(rec, img); err != nil {
		return err
	}
	if err := makeHostPaths(rec.Config); err != nil {
		return err
	}
	back.add(func() { s.releaseImages(rec) })
	if err := s.leaseImages(ctx, rec); err != nil {
		return err
	}
	dir := s.containerDir(rec.ID)
	back.add(func() { os.RemoveAll(dir) })
	if err := s.makeRoot(ctx, owner, rec, layers); err != nil {
		return err
	}
	if err := s.makeVolumes(ctx, owner, rec, img); err != nil {
		return err
	}
	c := newContainer(rec)
	if c.spec, err = buildSpec(s.specInput(rec, owner, img)); err != nil {
		return err
	}
	if err := writeRecord(dir, rec); err != nil {
		return err
	}
	return s.enter(c, box)
}

// enter makes a container visible, unless its sandbox was closed meanwhile: who
// closed it looks for its containers afterwards, in the same table.
func (s *Service) enter(c *ctr, box *sandbox) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if owner := box.rec.Load(); !owner.Ready {
		return status.Errorf(codes.FailedPrecondition, "sandbox %q is not ready", owner.ID)
	}
	id := c.rec.Load().ID
	s.containers[id] = c
	return nil
}

// findUser reads the image's accounts only where they matter: for a name, a
// group of the image, or the supplementary groups of a user.
func findUser(rec *containerRecord, img image.Image) (identity, error) {
	known, err := readAccounts(rec.Lower)
	if err != nil {
		return identity{}, err
	}
	who, err := resolveUser(rec.Config.GetLinux().GetSecurityContext(), img.Config.User, known)
	if err != nil {
		return identity{}, invalid("%v", err)
	}
	return who, nil
}

func (s *Service) specInput(rec *containerRecord, owner *sandboxRecord, img image.Image) specInput {
	return specInput{
		rec: rec, sandbox: owner, image: img.Config, host: s.host(),
		shm: filepath.Join(s.sandboxRun(owner.ID), "shm"), files: s.sandboxDir(owner.ID),
	}
}

// imageRef is the name by which a status calls an image: with a digest where
// one is known.
func imageRef(img image.Image) string {
	if len(img.Digests) > 0 {
		return img.Digests[0]
	}
	return img.ID
}

// stopSignalName is the signal of the container's configuration (KEP-4960).
func stopSignalName(sig runtimeapi.Signal) string {
	if sig == runtimeapi.Signal_RUNTIME_DEFAULT {
		return ""
	}
	return sig.String()
}
