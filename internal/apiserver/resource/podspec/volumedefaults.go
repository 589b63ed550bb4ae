package podspec

import corev1 "k8s.io/api/core/v1"

// defaultMode is the permission of files in secret, configMap, downwardAPI and
// projected volumes.
const defaultMode = 0o644

func mode(field **int32) {
	if *field == nil {
		m := int32(defaultMode)
		*field = &m
	}
}

func text[T ~string](field *T, value T) {
	if *field == "" {
		*field = value
	}
}

// defaultVolume agrees with upstream's SetDefaults_Volume and the defaults of
// the sources.
func defaultVolume(v *corev1.Volume) {
	s := &v.VolumeSource
	if *s == (corev1.VolumeSource{}) {
		s.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	if s.HostPath != nil && s.HostPath.Type == nil {
		unset := corev1.HostPathUnset
		s.HostPath.Type = &unset
	}
	if s.Secret != nil {
		mode(&s.Secret.DefaultMode)
	}
	if s.ConfigMap != nil {
		mode(&s.ConfigMap.DefaultMode)
	}
	if s.DownwardAPI != nil {
		mode(&s.DownwardAPI.DefaultMode)
		defaultDownward(s.DownwardAPI.Items)
	}
	if s.Projected != nil {
		mode(&s.Projected.DefaultMode)
		defaultProjection(s.Projected.Sources)
	}
	if s.Image != nil && s.Image.PullPolicy == "" {
		s.Image.PullPolicy = pullPolicy(s.Image.Reference)
	}
	if s.Ephemeral != nil && s.Ephemeral.VolumeClaimTemplate != nil {
		spec := &s.Ephemeral.VolumeClaimTemplate.Spec
		if spec.VolumeMode == nil {
			filesystem := corev1.PersistentVolumeFilesystem
			spec.VolumeMode = &filesystem
		}
		RoundUp(spec.Resources.Limits)
		RoundUp(spec.Resources.Requests)
	}
	defaultRemote(s)
}

func defaultDownward(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		defaultFieldRef(items[i].FieldRef)
	}
}

func defaultProjection(sources []corev1.VolumeProjection) {
	for i := range sources {
		if d := sources[i].DownwardAPI; d != nil {
			defaultDownward(d.Items)
		}
		if t := sources[i].ServiceAccountToken; t != nil && t.ExpirationSeconds == nil {
			hour := int64(60 * 60)
			t.ExpirationSeconds = &hour
		}
	}
}

// defaultRemote sets the defaults of network storage.
func defaultRemote(s *corev1.VolumeSource) {
	if s.ISCSI != nil {
		text(&s.ISCSI.ISCSIInterface, "default")
	}
	if s.RBD != nil {
		text(&s.RBD.RBDPool, "rbd")
		text(&s.RBD.RadosUser, "admin")
		text(&s.RBD.Keyring, "/etc/ceph/keyring")
	}
	if s.ScaleIO != nil {
		text(&s.ScaleIO.StorageMode, "ThinProvisioned")
		text(&s.ScaleIO.FSType, "xfs")
	}
	if d := s.AzureDisk; d != nil {
		if d.CachingMode == nil {
			caching := corev1.AzureDataDiskCachingReadWrite
			d.CachingMode = &caching
		}
		if d.Kind == nil {
			shared := corev1.AzureSharedBlobDisk
			d.Kind = &shared
		}
		if d.FSType == nil {
			ext4 := "ext4"
			d.FSType = &ext4
		}
		if d.ReadOnly == nil {
			d.ReadOnly = new(bool)
		}
	}
}
