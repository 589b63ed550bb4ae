package podspec

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// file is a path inside a volume and, where a volume has several, its source.
type file struct{ path, source string }

func (f file) String() string {
	if f.source == "" {
		return fmt.Sprintf("%q", f.path)
	}
	return fmt.Sprintf("%q (%s)", f.path, f.source)
}

// overlaps are files of one volume in the place of each other.
func (w *warnings) overlaps(volumes []corev1.Volume) {
	for i := range volumes {
		v := &volumes[i]
		switch {
		case v.ConfigMap != nil:
			w.collide(v.Name, fmt.Sprintf("ConfigMap %q", v.ConfigMap.Name), keyFiles(v.ConfigMap.Items, ""))
		case v.Secret != nil:
			w.collide(v.Name, fmt.Sprintf("Secret %q", v.Secret.SecretName), keyFiles(v.Secret.Items, ""))
		case v.DownwardAPI != nil:
			w.collide(v.Name, "DownwardAPI", downwardFiles(v.DownwardAPI.Items, ""))
		case v.Projected != nil:
			var all []file
			for _, s := range v.Projected.Sources {
				if s == (corev1.VolumeProjection{}) {
					w.list = append(w.list, fmt.Sprintf("volume %q (Projected) has no sources provided", v.Name))
				}
				all = append(all, projectedFiles(&s)...)
			}
			w.collide(v.Name, "Projected", all)
		}
	}
}

func (w *warnings) collide(volume, what string, files []file) {
	var before []file
	for _, f := range files {
		f.path = strings.TrimRight(f.path, "/")
		for _, o := range before {
			if f.path != "" && o.path != "" && (strings.HasPrefix(o.path+"/", f.path+"/") || strings.HasPrefix(f.path+"/", o.path+"/")) {
				w.list = append(w.list, fmt.Sprintf("volume %q (%s): overlapping paths: %s with %s", volume, what, f, o))
			}
		}
		before = append(before, f)
	}
}

func keyFiles(items []corev1.KeyToPath, source string) []file {
	var list []file
	for _, item := range items {
		list = append(list, file{item.Path, source})
	}
	return list
}

func downwardFiles(items []corev1.DownwardAPIVolumeFile, source string) []file {
	var list []file
	for _, item := range items {
		list = append(list, file{item.Path, source})
	}
	return list
}

func projectedFiles(s *corev1.VolumeProjection) []file {
	switch {
	case s.ConfigMap != nil:
		return keyFiles(s.ConfigMap.Items, fmt.Sprintf("ConfigMap %q", s.ConfigMap.Name))
	case s.Secret != nil:
		return keyFiles(s.Secret.Items, fmt.Sprintf("Secret %q", s.Secret.Name))
	case s.DownwardAPI != nil:
		return downwardFiles(s.DownwardAPI.Items, "DownwardAPI")
	case s.ServiceAccountToken != nil:
		return []file{{s.ServiceAccountToken.Path, "ServiceAccountToken"}}
	case s.ClusterTrustBundle != nil:
		name := s.ClusterTrustBundle.Name
		if name == nil {
			name = s.ClusterTrustBundle.SignerName
		}
		return []file{{s.ClusterTrustBundle.Path, fmt.Sprintf("ClusterTrustBundle %q", value(name))}}
	case s.PodCertificate != nil:
		c := s.PodCertificate
		list := []file{{c.CertificateChainPath, "PodCertificate chain"}, {c.KeyPath, "PodCertificate key"}, {c.CredentialBundlePath, "PodCertificate credential bundle"}}
		return slices.DeleteFunc(list, func(f file) bool { return f.path == "" })
	}
	return nil
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
