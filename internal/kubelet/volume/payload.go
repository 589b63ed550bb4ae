package volume

import (
	"context"
	"fmt"
	"maps"
	"path"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// file is one file of a volume.
type file struct {
	data []byte
	mode int32
	// uid owns the file, if set: a token belongs to the user that reads it.
	uid *int64
}

// payload gives the files of a volume by relative path.
func (m *Manager) payload(ctx context.Context, pod *v1.Pod, v *v1.Volume) (map[string]file, time.Time, error) {
	files := map[string]file{}
	switch {
	case v.ConfigMap != nil:
		return files, time.Time{}, m.configMap(ctx, pod, v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.Optional, mode(v.ConfigMap.DefaultMode), files)
	case v.Secret != nil:
		return files, time.Time{}, m.secret(ctx, pod, v.Secret.SecretName, v.Secret.Items, v.Secret.Optional, mode(v.Secret.DefaultMode), files)
	case v.DownwardAPI != nil:
		return files, time.Time{}, m.downward(pod, v.DownwardAPI.Items, mode(v.DownwardAPI.DefaultMode), files)
	default:
		refresh, err := m.projected(ctx, pod, v.Projected, files)
		return files, refresh, err
	}
}

func mode(p *int32) int32 {
	if p == nil {
		return 0o644
	}
	return *p
}

func isTrue(b *bool) bool { return b != nil && *b }

func (m *Manager) configMap(ctx context.Context, pod *v1.Pod, name string, items []v1.KeyToPath, optional *bool, mode int32, files map[string]file) error {
	cm, err := m.Sources.ConfigMap(ctx, pod.Namespace, name)
	if err != nil {
		if isTrue(optional) && apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	data := map[string][]byte{}
	for key, value := range cm.Data {
		data[key] = []byte(value)
	}
	maps.Copy(data, cm.BinaryData)
	return project("configmap references non-existent config key", data, items, isTrue(optional), mode, files)
}

func (m *Manager) secret(ctx context.Context, pod *v1.Pod, name string, items []v1.KeyToPath, optional *bool, mode int32, files map[string]file) error {
	s, err := m.Sources.Secret(ctx, pod.Namespace, name)
	if err != nil {
		if isTrue(optional) && apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	return project("references non-existent secret key", s.Data, items, isTrue(optional), mode, files)
}

// project turns keys into files: all of them under their own names, or those
// that items name. missing are the source's words for a key that is not there.
func project(missing string, data map[string][]byte, items []v1.KeyToPath, optional bool, mode int32, files map[string]file) error {
	if len(items) == 0 {
		for key, value := range data {
			if err := add(files, key, file{data: value, mode: mode}); err != nil {
				return err
			}
		}
		return nil
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok {
			if optional {
				continue
			}
			return fmt.Errorf("%s: %s", missing, item.Key)
		}
		f := file{data: value, mode: mode}
		if item.Mode != nil {
			f.mode = *item.Mode
		}
		if err := add(files, item.Path, f); err != nil {
			return err
		}
	}
	return nil
}

// add puts a file under a path that stays inside the volume, whatever the API
// let through: the path is the only thing here that decides where is written.
func add(files map[string]file, name string, f file) error {
	clean := path.Clean(name)
	if name == "" || path.IsAbs(name) || clean == "." || clean == ".." || strings.HasPrefix(clean, "../") || strings.HasPrefix(clean, "..") {
		return fmt.Errorf("invalid path %q: it must be relative, must not contain '..' and must not start with it", name)
	}
	files[clean] = f
	return nil
}

func (m *Manager) downward(pod *v1.Pod, items []v1.DownwardAPIVolumeFile, mode int32, files map[string]file) error {
	for _, item := range items {
		f := file{mode: mode}
		if item.Mode != nil {
			f.mode = *item.Mode
		}
		var text string
		var err error
		switch {
		case item.FieldRef != nil:
			text, err = m.Sources.Field(pod, item.FieldRef)
		case item.ResourceFieldRef != nil:
			text, err = m.Sources.Resource(pod, item.ResourceFieldRef)
		}
		if err != nil {
			return err
		}
		f.data = []byte(text)
		if err := add(files, item.Path, f); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) projected(ctx context.Context, pod *v1.Pod, p *v1.ProjectedVolumeSource, files map[string]file) (time.Time, error) {
	var refresh time.Time
	base := mode(p.DefaultMode)
	for _, s := range p.Sources {
		var err error
		switch {
		case s.ConfigMap != nil:
			err = m.configMap(ctx, pod, s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional, base, files)
		case s.Secret != nil:
			err = m.secret(ctx, pod, s.Secret.Name, s.Secret.Items, s.Secret.Optional, base, files)
		case s.DownwardAPI != nil:
			err = m.downward(pod, s.DownwardAPI.Items, base, files)
		case s.ServiceAccountToken != nil:
			var at time.Time
			at, err = m.token(ctx, pod, s.ServiceAccountToken, base, files)
			if err == nil && (refresh.IsZero() || at.Before(refresh)) {
				refresh = at
			}
		case s.ClusterTrustBundle != nil:
			err = m.trustBundle(ctx, s.ClusterTrustBundle, base, files)
		default:
			err = fmt.Errorf("projected source is not supported")
		}
		if err != nil {
			return time.Time{}, err
		}
	}
	return refresh, nil
}

// token is a token of the pod's service account. Without a group for all of the
// pod's volumes, a token is readable by its one user only (KEP-1205).
func (m *Manager) token(ctx context.Context, pod *v1.Pod, p *v1.ServiceAccountTokenProjection, base int32, files map[string]file) (time.Time, error) {
	seconds := int64(3600)
	if p.ExpirationSeconds != nil {
		seconds = *p.ExpirationSeconds
	}
	token, refresh, err := m.Sources.Token(ctx, pod, p.Audience, seconds)
	if err != nil {
		return time.Time{}, err
	}
	f := file{data: []byte(token), mode: base}
	switch {
	case fsGroup(pod) != nil:
		f.mode = 0o600
	default:
		if uid := onlyUser(pod); uid != nil {
			f.mode, f.uid = 0o600, uid
		}
	}
	return refresh, add(files, p.Path, f)
}

// onlyUser is the user that all containers of a pod run as, if they name one.
func onlyUser(pod *v1.Pod) *int64 {
	var user *int64
	same := true
	visit := func(c *v1.Container) {
		var own *int64
		if pod.Spec.SecurityContext != nil {
			own = pod.Spec.SecurityContext.RunAsUser
		}
		if c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil {
			own = c.SecurityContext.RunAsUser
		}
		if own == nil || user != nil && *user != *own {
			same = false
		}
		user = own
	}
	for i := range pod.Spec.InitContainers {
		visit(&pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		visit(&pod.Spec.Containers[i])
	}
	if !same {
		return nil
	}
	return user
}

func (m *Manager) trustBundle(ctx context.Context, p *v1.ClusterTrustBundleProjection, base int32, files map[string]file) error {
	data, err := m.Sources.TrustBundle(ctx, p)
	if err != nil {
		if isTrue(p.Optional) && apierrors.IsNotFound(err) {
			data = nil
		} else {
			return err
		}
	}
	return add(files, p.Path, file{data: data, mode: base})
}
