package podspec

import (
	"path"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// fileFields are the fields of a pod that a file can hold.
func fileFields() sets.Set[string] {
	return sets.New("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
}

const badMode = "must be a number between 0 and 0777 (octal), both inclusive"

// validateVolumes agrees with upstream's ValidateVolumes. It returns the
// volumes that can be mounted.
func validateVolumes(volumes []corev1.Volume, path *field.Path) (map[string]corev1.VolumeSource, field.ErrorList) {
	var errs field.ErrorList
	known := map[string]corev1.VolumeSource{}
	for i := range volumes {
		v, at := &volumes[i], path.Index(i)
		el := validateSource(&v.VolumeSource, at)
		if v.Name == "" {
			el = append(el, field.Required(at.Child("name"), ""))
		} else {
			el = append(el, messages(at.Child("name"), v.Name, validation.IsDNS1123Label(v.Name))...)
		}
		if _, ok := known[v.Name]; ok {
			el = append(el, field.Duplicate(at.Child("name"), v.Name))
		}
		if len(el) == 0 {
			known[v.Name] = v.VolumeSource
			continue
		}
		errs = append(errs, el...)
	}
	return known, errs
}

// validateSource agrees with upstream's validateVolumeSource: one and only one.
func validateSource(s *corev1.VolumeSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	found := 0
	check := func(name string, only *corev1.VolumeSource) {
		if found++; found > 1 {
			errs = append(errs, field.Forbidden(at.Child(name), "may not specify more than 1 volume type"))
			return
		}
		errs = append(errs, validateKind(only, at.Child(name))...)
	}
	if s.EmptyDir != nil {
		check("emptyDir", &corev1.VolumeSource{EmptyDir: s.EmptyDir})
	}
	// The struct has one pointer per kind of volume; their order in it is the
	// order in which they are looked at, after emptyDir, which upstream looks at
	// first.
	value := reflect.ValueOf(s).Elem()
	for i := range value.NumField() {
		name, _, _ := strings.Cut(value.Type().Field(i).Tag.Get("json"), ",")
		if value.Field(i).IsNil() || name == "emptyDir" {
			continue
		}
		only := &corev1.VolumeSource{}
		reflect.ValueOf(only).Elem().Field(i).Set(value.Field(i))
		check(name, only)
	}
	if found == 0 {
		errs = append(errs, field.Required(at, "must specify a volume type"))
	}
	return errs
}

// required names the first fields that are missing.
func required(at *field.Path, pairs ...string) field.ErrorList {
	var errs field.ErrorList
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			errs = append(errs, field.Required(at.Child(pairs[i]), ""))
		}
	}
	return errs
}

func validateKind(s *corev1.VolumeSource, at *field.Path) field.ErrorList {
	switch {
	case s.EmptyDir != nil:
		if limit := s.EmptyDir.SizeLimit; limit != nil && limit.Sign() < 0 {
			return field.ErrorList{field.Forbidden(at.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity")}
		}
	case s.HostPath != nil:
		return validateHostPath(s.HostPath, at)
	case s.Secret != nil:
		errs := required(at, "secretName", s.Secret.SecretName)
		return append(errs, validateFiles(s.Secret.DefaultMode, s.Secret.Items, at)...)
	case s.ConfigMap != nil:
		errs := required(at, "name", s.ConfigMap.Name)
		return append(errs, validateFiles(s.ConfigMap.DefaultMode, s.ConfigMap.Items, at)...)
	case s.DownwardAPI != nil:
		errs := validateMode(s.DownwardAPI.DefaultMode, at.Child("defaultMode"))
		for i := range s.DownwardAPI.Items {
			errs = append(errs, validateDownward(&s.DownwardAPI.Items[i], at)...)
		}
		return errs
	case s.Projected != nil:
		return validateProjected(s.Projected, at)
	case s.PersistentVolumeClaim != nil:
		return required(at, "claimName", s.PersistentVolumeClaim.ClaimName)
	case s.Ephemeral != nil:
		return validateEphemeral(s.Ephemeral, at)
	case s.Image != nil:
		errs := required(at, "reference", s.Image.Reference)
		return append(errs, anyOf(at.Child("pullPolicy"), s.Image.PullPolicy, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	}
	return validateRemote(s, at)
}

func validateHostPath(h *corev1.HostPathVolumeSource, at *field.Path) field.ErrorList {
	if h.Path == "" {
		return field.ErrorList{field.Required(at.Child("path"), "")}
	}
	errs := validateNoBacksteps(h.Path, at.Child("path"))
	if h.Type != nil {
		errs = append(errs, anyOf(at.Child("type"), *h.Type, corev1.HostPathUnset, corev1.HostPathBlockDev, corev1.HostPathCharDev, corev1.HostPathDirectory,
			corev1.HostPathDirectoryOrCreate, corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket)...)
	}
	return errs
}

func validateMode(mode *int32, at *field.Path) field.ErrorList {
	if mode != nil && (*mode < 0 || *mode > 0o777) {
		return field.ErrorList{field.Invalid(at, *mode, badMode)}
	}
	return nil
}

func validateFiles(mode *int32, items []corev1.KeyToPath, at *field.Path) field.ErrorList {
	errs := validateMode(mode, at.Child("defaultMode"))
	for i := range items {
		errs = append(errs, validateItem(&items[i], at.Child("items").Index(i))...)
	}
	return errs
}

func validateItem(item *corev1.KeyToPath, at *field.Path) field.ErrorList {
	errs := required(at, "key", item.Key, "path", item.Path)
	errs = append(errs, validateLocal(item.Path, at.Child("path"))...)
	return append(errs, validateMode(item.Mode, at.Child("mode"))...)
}

// validateDownward agrees with upstream's validateDownwardAPIVolumeFile, which
// reports by the path of the volume, not of the item.
func validateDownward(f *corev1.DownwardAPIVolumeFile, at *field.Path) field.ErrorList {
	errs := required(at, "path", f.Path)
	errs = append(errs, validateLocal(f.Path, at.Child("path"))...)
	switch {
	case f.FieldRef != nil:
		errs = append(errs, validateFieldRef(f.FieldRef, fileFields(), at.Child("fieldRef"))...)
		if f.ResourceFieldRef != nil {
			errs = append(errs, field.Invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
		}
	case f.ResourceFieldRef != nil:
		errs = append(errs, validateResourceRef(f.ResourceFieldRef, at.Child("resourceFieldRef"), true)...)
	default:
		errs = append(errs, field.Required(at, "one of fieldRef and resourceFieldRef is required"))
	}
	return append(errs, validateMode(f.Mode, at.Child("mode"))...)
}

func validateEphemeral(e *corev1.EphemeralVolumeSource, at *field.Path) field.ErrorList {
	at = at.Child("volumeClaimTemplate")
	if e.VolumeClaimTemplate == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	spec := &e.VolumeClaimTemplate.Spec
	if len(spec.AccessModes) == 0 {
		errs = append(errs, field.Required(at.Child("spec", "accessModes"), "at least 1 access mode is required"))
	}
	if _, ok := spec.Resources.Requests[corev1.ResourceStorage]; !ok {
		errs = append(errs, field.Required(at.Child("spec", "resources").Key(string(corev1.ResourceStorage)), ""))
	}
	return errs
}

// validateRemote checks the shape of network storage and of storage in clouds.
func validateRemote(s *corev1.VolumeSource, at *field.Path) field.ErrorList {
	switch {
	case s.NFS != nil:
		errs := required(at, "server", s.NFS.Server, "path", s.NFS.Path)
		if s.NFS.Path != "" && !path.IsAbs(s.NFS.Path) {
			errs = append(errs, field.Invalid(at.Child("path"), s.NFS.Path, "must be an absolute path"))
		}
		return errs
	case s.CSI != nil:
		if s.CSI.Driver == "" {
			return field.ErrorList{field.Required(at.Child("driver"), "")}
		}
		return messages(at.Child("driver"), s.CSI.Driver, validation.IsDNS1123Subdomain(strings.ToLower(s.CSI.Driver)))
	case s.ISCSI != nil:
		return required(at, "targetPortal", s.ISCSI.TargetPortal, "iqn", s.ISCSI.IQN)
	case s.Glusterfs != nil:
		return required(at, "endpoints", s.Glusterfs.EndpointsName, "path", s.Glusterfs.Path)
	case s.GCEPersistentDisk != nil:
		return required(at, "pdName", s.GCEPersistentDisk.PDName)
	case s.AWSElasticBlockStore != nil:
		return required(at, "volumeID", s.AWSElasticBlockStore.VolumeID)
	case s.AzureDisk != nil:
		return required(at, "diskName", s.AzureDisk.DiskName, "diskURI", s.AzureDisk.DataDiskURI)
	case s.AzureFile != nil:
		return required(at, "secretName", s.AzureFile.SecretName, "shareName", s.AzureFile.ShareName)
	case s.Cinder != nil:
		return required(at, "volumeID", s.Cinder.VolumeID)
	case s.FlexVolume != nil:
		return required(at, "driver", s.FlexVolume.Driver)
	case s.GitRepo != nil:
		return required(at, "repository", s.GitRepo.Repository)
	case s.RBD != nil:
		errs := required(at, "image", s.RBD.RBDImage)
		if len(s.RBD.CephMonitors) == 0 {
			errs = append(errs, field.Required(at.Child("monitors"), ""))
		}
		return errs
	case s.CephFS != nil && len(s.CephFS.Monitors) == 0:
		return field.ErrorList{field.Required(at.Child("monitors"), "")}
	case s.VsphereVolume != nil:
		return required(at, "volumePath", s.VsphereVolume.VolumePath)
	case s.PortworxVolume != nil:
		return required(at, "volumeID", s.PortworxVolume.VolumeID)
	}
	return nil
}
