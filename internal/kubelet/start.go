package kubelet

import (
	"context"
	"fmt"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Reasons of waiting containers, as upstream spells them.
const (
	reasonCreating       = "ContainerCreating"
	reasonInitializing   = "PodInitializing"
	reasonCrashLoop      = "CrashLoopBackOff"
	reasonErrPull        = "ErrImagePull"
	reasonPullBackOff    = "ImagePullBackOff"
	reasonNeverPull      = "ErrImageNeverPull"
	reasonInvalidImage   = "InvalidImageName"
	reasonInspectError   = "ImageInspectError"
	reasonConfigError    = "CreateContainerConfigError"
	reasonCreateError    = "CreateContainerError"
	reasonRunError       = "RunContainerError"
	reasonPostStartError = "PostStartHookError"
)

// startError says why a container does not run, in the words of its status.
type startError struct {
	Reason, Message string
	// Retry is how long to wait before the next try.
	Retry time.Duration
	// Pull is the image whose pull failed and is tried again later, the container's or that of a volume.
	Pull string
	// Doomed is a container that was started and must end (a failed hook).
	Doomed string
}

func (e *startError) Error() string { return e.Reason + ": " + e.Message }

// pullBackOffShown is how long a failed pull shows its error before its status
// says that it backs off.
const pullBackOffShown = 2 * time.Second

// start is one start of a container. Its steps, in order: image, configuration,
// create, start, postStart. Each step leaves nothing behind when it fails,
// but the created container, which the next attempt's plan removes.
type start struct {
	k         *Kubelet
	pod       *v1.Pod
	container *v1.Container
	attempt   int
	sandbox   sandboxRecord
	pulls     *retry
	// running is called when the process runs and its hook has not yet.
	running func(id string)
}

func (s *start) run(ctx context.Context) error {
	image, err := s.ensureImage(ctx, s.container.Image, s.container.ImagePullPolicy)
	if err != nil {
		return err
	}
	volumes, err := s.ensureImageVolumes(ctx)
	if err != nil {
		return err
	}
	s.pulls.reset() // not before all are there: one of two that is pulled always would undo the other's delay
	id, err := s.create(ctx, image, volumes)
	if err != nil {
		return err
	}
	s.running(id)
	return s.postStart(ctx, id)
}

// create makes and starts the container. Both take processor time, so no more
// than a few run at once on the node: a burst of pods finishes sooner that way.
func (s *start) create(ctx context.Context, image string, volumes map[string]string) (string, error) {
	if err := s.k.gate.enter(ctx); err != nil {
		return "", err
	}
	defer s.k.gate.leave()
	box, err := s.k.sandboxConfig(s.pod, int(s.sandbox.Attempt))
	if err != nil {
		return "", s.fail(reasonConfigError, err.Error(), backoffFirst)
	}
	config, err := s.k.containerConfig(ctx, s.pod, s.container, s.attempt, image, volumes, s.sandbox.IPs)
	if err != nil {
		return "", s.fail(reasonConfigError, err.Error(), backoffFirst)
	}
	made, err := s.k.deps.Runtime.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{
		PodSandboxId: s.sandbox.ID, Config: config, SandboxConfig: box,
	})
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", s.fail(reasonCreateError, criText(err), backoffFirst)
	}
	id := made.GetContainerId()
	s.event(v1.EventTypeNormal, "Created", "Container created")
	if _, err := s.k.deps.Runtime.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: id}); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", s.fail(reasonRunError, criText(err), time.Second)
	}
	s.event(v1.EventTypeNormal, "Started", "Container started")
	return id, nil
}

func (s *start) postStart(ctx context.Context, id string) error {
	if !hasPostStart(s.container) {
		return nil
	}
	ip := ""
	if len(s.sandbox.IPs) > 0 {
		ip = s.sandbox.IPs[0]
	}
	if err := s.k.runHook(ctx, s.pod, s.container, id, ip, s.container.Lifecycle.PostStart); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.event(v1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
		return &startError{Reason: reasonPostStartError, Message: "FailedPostStartHook", Doomed: id}
	}
	return nil
}

func (s *start) event(kind, reason, message string) {
	s.k.events.container(s.pod, s.container.Name, kind, reason, message)
}

func (s *start) fail(reason, message string, retry time.Duration) error {
	s.event(v1.EventTypeWarning, "Failed", "Error: "+message)
	return &startError{Reason: reason, Message: message, Retry: retry}
}

// ensureImageVolumes makes the images present that the container mounts as
// volumes, and returns what ensureImage does for each, by the volume's name.
func (s *start) ensureImageVolumes(ctx context.Context) (map[string]string, error) {
	var refs map[string]string
	for _, m := range s.container.VolumeMounts {
		v := findVolume(s.pod, m.Name)
		if v == nil || v.Image == nil || refs[v.Name] != "" {
			continue
		}
		ref, err := s.ensureImage(ctx, v.Image.Reference, v.Image.PullPolicy)
		if err != nil {
			return nil, err
		}
		if refs == nil {
			refs = map[string]string{}
		}
		refs[v.Name] = ref
	}
	return refs, nil
}

// ensureImage makes an image present, as the pull policy says, and returns
// the reference by which the container layer knows it.
func (s *start) ensureImage(ctx context.Context, name string, policy v1.PullPolicy) (string, error) {
	spec := &runtimeapi.ImageSpec{Image: name, UserSpecifiedImage: name}
	status, err := s.imageStatus(ctx, spec)
	switch {
	case err != nil && ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil && invalidArgument(err):
		message := fmt.Sprintf("Failed to apply default image tag %q: %s", name, criText(err))
		s.event(v1.EventTypeWarning, "InspectFailed", message)
		s.event(v1.EventTypeWarning, "Failed", "Error: "+reasonInvalidImage)
		return "", &startError{Reason: reasonInvalidImage, Message: message, Retry: backoffMax}
	case err != nil:
		message := fmt.Sprintf("Failed to inspect image %q: %s", name, criText(err))
		s.event(v1.EventTypeWarning, "InspectFailed", message)
		s.event(v1.EventTypeWarning, "Failed", "Error: "+reasonInspectError)
		return "", &startError{Reason: reasonInspectError, Message: message, Retry: backoffFirst}
	}
	present := status.GetImage()
	switch {
	case present != nil && policy != v1.PullAlways:
		s.event(v1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", name))
		return present.GetId(), nil
	case policy == v1.PullNever:
		message := fmt.Sprintf("Container image %q is not present with pull policy of Never", name)
		s.event(v1.EventTypeWarning, "ErrImageNeverPull", message)
		s.event(v1.EventTypeWarning, "Failed", "Error: "+reasonNeverPull)
		return "", &startError{Reason: reasonNeverPull, Message: message, Retry: backoffFirst}
	}
	return s.pull(ctx, spec)
}

// imageStatus asks for the image, once more when archives that may hold it have come in.
func (s *start) imageStatus(ctx context.Context, spec *runtimeapi.ImageSpec) (*runtimeapi.ImageStatusResponse, error) {
	ask := func() (*runtimeapi.ImageStatusResponse, error) {
		return s.k.deps.Images.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: spec})
	}
	status, err := ask()
	if err != nil || status.GetImage() != nil || s.k.deps.AwaitImages == nil {
		return status, err
	}
	if err := s.k.deps.AwaitImages(ctx); err != nil {
		return nil, err
	}
	return ask()
}

func (s *start) pull(ctx context.Context, spec *runtimeapi.ImageSpec) (string, error) {
	name := spec.GetImage()
	s.event(v1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", name))
	began := time.Now()
	box, err := s.k.sandboxConfig(s.pod, int(s.sandbox.Attempt))
	if err != nil {
		return "", s.fail(reasonConfigError, err.Error(), backoffFirst)
	}
	var ref string
	for _, auth := range s.k.pullCredentials(ctx, s.pod, name) {
		var pulled *runtimeapi.PullImageResponse
		pulled, err = s.k.deps.Images.PullImage(ctx, &runtimeapi.PullImageRequest{Image: spec, Auth: auth, SandboxConfig: box})
		if err == nil {
			ref = pulled.GetImageRef()
			break
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
	}
	if err != nil {
		return "", s.pullFailed(name, err)
	}
	took := time.Since(began).Truncate(time.Millisecond)
	size := uint64(0)
	if status, err := s.k.deps.Images.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: ref}}); err == nil {
		size = status.GetImage().GetSize()
	}
	s.k.imagesChanged()
	s.event(v1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q in %s (%s including waiting). Image size: %d bytes.", name, took, took, size))
	return ref, nil
}

func (s *start) pullFailed(name string, err error) error {
	delay := s.pulls.next()
	text := criText(err)
	s.event(v1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %s", name, text))
	reason := reasonErrPull
	for _, special := range []string{"ImagePullBackOff", "RegistryUnavailable", "SignatureValidationFailed"} {
		if strings.HasPrefix(text, special+":") {
			reason = special
		}
	}
	s.event(v1.EventTypeWarning, "Failed", "Error: "+reason)
	return &startError{Reason: reason, Message: fmt.Sprintf("failed to pull and unpack image %q: %s", name, text), Retry: delay, Pull: name}
}

// backOffPull is what a failed pull's reason turns into while it waits.
func backOffPull(image string, failed *v1.ContainerStateWaiting) *v1.ContainerStateWaiting {
	return &v1.ContainerStateWaiting{
		Reason:  reasonPullBackOff,
		Message: fmt.Sprintf("Back-off pulling image %q: %s: %s", image, failed.Reason, failed.Message),
	}
}

func crashLoop(pod *v1.Pod, name string, delay time.Duration) *v1.ContainerStateWaiting {
	return &v1.ContainerStateWaiting{
		Reason:  reasonCrashLoop,
		Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", delay, name, podFullName(pod)),
	}
}

func crashLoopEvent(pod *v1.Pod, name string) string {
	return fmt.Sprintf("Back-off restarting failed container %s in pod %s", name, podFullName(pod))
}

// podFullName is upstream's NAME_NAMESPACE(UID).
func podFullName(pod *v1.Pod) string {
	return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID)
}

func podName(pod *v1.Pod) string { return pod.Namespace + "/" + pod.Name }

func hasPostStart(c *v1.Container) bool {
	return c.Lifecycle != nil && c.Lifecycle.PostStart != nil
}

func hasPreStop(c *v1.Container) bool {
	return c != nil && c.Lifecycle != nil && c.Lifecycle.PreStop != nil
}

// findContainer finds a container of any kind by name, or nil. An ephemeral
// container is given as a plain one: their fields are the same.
func findContainer(pod *v1.Pod, name string) *v1.Container {
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == name {
			return &pod.Spec.Containers[i]
		}
	}
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == name {
			return &pod.Spec.InitContainers[i]
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			c := v1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
			return &c
		}
	}
	return nil
}

func isEphemeral(pod *v1.Pod, name string) bool {
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return true
		}
	}
	return false
}
