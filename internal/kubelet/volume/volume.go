// Package volume makes the volumes of a pod on the node: directories, memory
// file systems, host paths, and files made from ConfigMaps, Secrets, the
// downward API and tokens, which follow their sources while the pod runs.
//
// Setup may be called again at any time: it brings what is there up to date,
// and changes files only by an atomic exchange of a symbolic link (see write.go),
// so that a reader sees the old set of files or the new one, never a mixture.
package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	v1 "k8s.io/api/core/v1"
)

// Sources gives what volumes are made from.
type Sources interface {
	// ConfigMap and Secret give objects that the caller must not change.
	ConfigMap(ctx context.Context, namespace, name string) (*v1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*v1.Secret, error)
	// Token gives a token of the pod's service account for an audience, and when
	// it is to be replaced.
	Token(ctx context.Context, pod *v1.Pod, audience string, seconds int64) (token string, refresh time.Time, err error)
	// TrustBundle gives the PEM text of a cluster trust bundle.
	TrustBundle(ctx context.Context, source *v1.ClusterTrustBundleProjection) ([]byte, error)
	// Field and Resource resolve the downward API.
	Field(pod *v1.Pod, ref *v1.ObjectFieldSelector) (string, error)
	Resource(pod *v1.Pod, ref *v1.ResourceFieldSelector) (string, error)
}

// Manager makes volumes below one directory.
type Manager struct {
	// Dir holds one directory per pod, named by its UID.
	Dir     string
	Sources Sources
}

// Error is a volume that could not be set up; its text is upstream's.
type Error struct {
	Volume string
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", e.Volume, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// AlwaysReadOnly reports whether a volume is read-only whatever the mount says.
// Files that the node agent itself keeps up to date must not be written to, nor
// those of an image, which others use.
func AlwaysReadOnly(v *v1.Volume) bool {
	return v.Image != nil || fromAPI(v)
}

// fromAPI reports whether the volume's files come from the API.
func fromAPI(v *v1.Volume) bool {
	return v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
}

// Path is where a volume is on the node. The paths below the pod's directory
// are upstream's, because tools look there.
func (m *Manager) Path(uid string, v *v1.Volume) string {
	if v.HostPath != nil {
		return v.HostPath.Path
	}
	return filepath.Join(m.Dir, uid, "volumes", "kubernetes.io~"+kind(v), v.Name)
}

func kind(v *v1.Volume) string {
	switch {
	case v.EmptyDir != nil:
		return "empty-dir"
	case v.ConfigMap != nil:
		return "configmap"
	case v.Secret != nil:
		return "secret"
	case v.DownwardAPI != nil:
		return "downward-api"
	case v.Projected != nil:
		return "projected"
	default:
		return "other"
	}
}

// Setup makes all volumes of a pod. It returns when it has to be called again
// because a token grows old; zero: never. The error joins what failed, an *Error
// for each volume.
func (m *Manager) Setup(ctx context.Context, pod *v1.Pod) (refresh time.Time, err error) {
	var failed []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		at, err := m.setup(ctx, pod, v)
		if err != nil {
			failed = append(failed, &Error{v.Name, err})
		}
		if !at.IsZero() && (refresh.IsZero() || at.Before(refresh)) {
			refresh = at
		}
	}
	return refresh, errors.Join(failed...)
}

func (m *Manager) setup(ctx context.Context, pod *v1.Pod, v *v1.Volume) (time.Time, error) {
	path := m.Path(string(pod.UID), v)
	switch {
	case v.EmptyDir != nil:
		return time.Time{}, m.setupEmptyDir(pod, v, path)
	case v.HostPath != nil:
		return time.Time{}, setupHostPath(v.HostPath)
	case v.Image != nil:
		return time.Time{}, nil // the container layer mounts it
	case fromAPI(v):
		return m.setupFiles(ctx, pod, v, path)
	default:
		return time.Time{}, errors.New("no volume plugin matched")
	}
}

// setupFiles makes a volume whose files come from the API.
func (m *Manager) setupFiles(ctx context.Context, pod *v1.Pod, v *v1.Volume, path string) (time.Time, error) {
	files, refresh, err := m.payload(ctx, pod, v)
	if err != nil {
		return time.Time{}, err
	}
	if err := m.ensureMemory(pod, v, path); err != nil {
		return time.Time{}, err
	}
	return refresh, writeAtomically(path, files, fsGroup(pod))
}

func fsGroup(pod *v1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}

// Pods lists the pods that have a directory.
func (m *Manager) Pods() ([]string, error) {
	entries, err := os.ReadDir(m.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing pod directories: %w", err)
	}
	var uids []string
	for _, e := range entries {
		if e.IsDir() {
			uids = append(uids, e.Name())
		}
	}
	return uids, nil
}
