package container

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/image"
)

// A pod with a user namespace (KEP-127): pause makes it, and with it the pod's
// other namespaces, which then belong to it; containers enter it. Layers and
// volumes are seen through id-mapped mounts, so that files keep the owners that
// they have on disk. What a container writes into its root belongs to the
// pod's range of ids.

// usersOf is the sandbox's user namespace, nil where it is the node's.
func usersOf(config *runtimeapi.PodSandboxConfig) *runtimeapi.UserNamespace {
	users := config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetUsernsOptions()
	if users == nil || users.GetMode() == runtimeapi.NamespaceMode_NODE {
		return nil
	}
	return users
}

// ownIDs are those that own the files which are made for the pod.
func ownIDs(config *runtimeapi.PodSandboxConfig) image.IDRange {
	users := usersOf(config)
	if users == nil {
		return image.IDRange{}
	}
	return image.IDRange{Host: users.GetUids()[0].GetHostId(), Length: users.GetUids()[0].GetLength()}
}

// checkUsers takes what the CRI defines: the pod's namespace with one range for
// users and one for groups, which holds root.
func checkUsers(config *runtimeapi.PodSandboxConfig) error {
	users := usersOf(config)
	if users == nil {
		return nil
	}
	if users.GetMode() != runtimeapi.NamespaceMode_POD {
		return status.Errorf(codes.InvalidArgument, "user namespace mode %s: only POD and NODE are possible", users.GetMode())
	}
	if netMode(config) == runtimeapi.NamespaceMode_NODE || pidMode(config) == runtimeapi.NamespaceMode_NODE || ipcMode(config) == runtimeapi.NamespaceMode_NODE {
		return status.Error(codes.InvalidArgument, "a pod in a user namespace cannot share the node's network, pid or ipc namespace")
	}
	if len(users.GetUids()) != 1 || len(users.GetGids()) != 1 {
		return status.Errorf(codes.InvalidArgument, "user namespace: %d uid and %d gid mappings, one of each is possible", len(users.GetUids()), len(users.GetGids()))
	}
	for name, m := range map[string]*runtimeapi.IDMapping{"uid": users.GetUids()[0], "gid": users.GetGids()[0]} {
		last := uint64(m.GetHostId()) + uint64(m.GetLength())
		if m.GetContainerId() != 0 || m.GetLength() == 0 || m.GetHostId() == 0 || last > 1<<32-1 {
			return status.Errorf(codes.InvalidArgument, "user namespace: %s mapping of %d to %d, length %d: it must map root, and to another id", name, m.GetContainerId(), m.GetHostId(), m.GetLength())
		}
	}
	if !proto.Equal(users.GetUids()[0], users.GetGids()[0]) {
		return status.Error(codes.InvalidArgument, "user namespace: uid and gid mappings must be the same")
	}
	return nil
}

// addUsers makes a specification one of a container in the pod's user
// namespace.
func addUsers(spec *specs.Spec, users *runtimeapi.UserNamespace) {
	if users == nil {
		return
	}
	spec.Linux.UIDMappings = mappings(users.GetUids())
	spec.Linux.GIDMappings = mappings(users.GetGids())
}

func mappings(list []*runtimeapi.IDMapping) []specs.LinuxIDMapping {
	var out []specs.LinuxIDMapping
	for _, m := range list {
		out = append(out, specs.LinuxIDMapping{ContainerID: m.GetContainerId(), HostID: m.GetHostId(), Size: m.GetLength()})
	}
	return out
}
