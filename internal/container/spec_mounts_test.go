package container

import (
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/kernel/kerneltest"
)

// Where nothing can come back to the node, bidirectional propagation is refused.
func TestBidirectionalNeedsShared(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Mount) {
		return
	}
	dir := t.TempDir()
	if err := unix.Mount("test", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	m := &runtimeapi.Mount{HostPath: dir, ContainerPath: "/v", Propagation: runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL}
	for flag, want := range map[uintptr]codes.Code{unix.MS_PRIVATE: codes.InvalidArgument, unix.MS_SLAVE: codes.InvalidArgument, unix.MS_SHARED: codes.OK} {
		if err := unix.Mount("", dir, "", flag, ""); err != nil {
			t.Fatal(err)
		}
		if _, _, err := hostMount(m, nil); status.Code(err) != want {
			t.Errorf("%#x: %v", flag, err)
		}
	}
	if _, _, err := hostMount(&runtimeapi.Mount{HostPath: dir, ContainerPath: "/v"}, nil); err != nil {
		t.Error(err)
	}
}
