package podspec

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// envFields are the fields of a pod that a variable can hold.
func envFields() sets.Set[string] {
	return sets.New("metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs")
}

// containerResources are the resources that a variable or a file can hold.
func containerResources() sets.Set[string] {
	return sets.New("limits.cpu", "limits.ephemeral-storage", "limits.memory",
		"requests.cpu", "requests.ephemeral-storage", "requests.memory")
}

// validateEnv agrees with upstream's ValidateEnv.
func validateEnv(vars []corev1.EnvVar, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range vars {
		v, at := &vars[i], path.Index(i)
		if v.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, messages(at.Child("name"), v.Name, validation.IsRelaxedEnvVarName(v.Name))...)
		}
		errs = append(errs, validateValueFrom(v, at.Child("valueFrom"))...)
	}
	return errs
}

func validateValueFrom(v *corev1.EnvVar, path *field.Path) field.ErrorList {
	from := v.ValueFrom
	if from == nil {
		return nil
	}
	var errs field.ErrorList
	sources := 0
	if from.FieldRef != nil {
		sources++
		errs = append(errs, validateFieldRef(from.FieldRef, envFields(), path.Child("fieldRef"))...)
	}
	if from.ResourceFieldRef != nil {
		sources++
		errs = append(errs, validateResourceRef(from.ResourceFieldRef, path.Child("resourceFieldRef"), false)...)
	}
	if r := from.ConfigMapKeyRef; r != nil {
		sources++
		errs = append(errs, validateKeyRef(r.Name, r.Key, path.Child("configMapKeyRef"))...)
	}
	if r := from.SecretKeyRef; r != nil {
		sources++
		errs = append(errs, validateKeyRef(r.Name, r.Key, path.Child("secretKeyRef"))...)
	}
	if r := from.FileKeyRef; r != nil {
		sources++
		errs = append(errs, validateFileRef(r, path.Child("fileKeyRef"))...)
	}
	switch {
	case sources == 0:
		errs = append(errs, field.Invalid(path, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"))
	case v.Value != "":
		errs = append(errs, field.Invalid(path, "", "may not be specified when `value` is not empty"))
	case sources > 1:
		errs = append(errs, field.Invalid(path, "", "may not have more than one field specified at a time"))
	}
	return errs
}

func validateFileRef(r *corev1.FileKeySelector, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if r.Key == "" {
		errs = append(errs, field.Required(path.Child("key"), ""))
	} else {
		errs = append(errs, messages(path.Child("key"), r.Key, validation.IsRelaxedEnvVarName(r.Key))...)
	}
	if r.VolumeName == "" {
		errs = append(errs, field.Required(path.Child("volumeName"), ""))
	}
	if r.Path == "" {
		return append(errs, field.Required(path.Child("path"), ""))
	}
	return append(errs, validateLocal(r.Path, path.Child("path"))...)
}

// validateFileVolumes agrees with upstream's validateFileKeyRefVolumes: files of
// variables are in an emptyDir of the pod (KEP-3721).
func validateFileVolumes(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	eachContainer(spec, path, func(c *corev1.Container, at *field.Path) {
		for i, v := range c.Env {
			if v.ValueFrom == nil || v.ValueFrom.FileKeyRef == nil {
				continue
			}
			name := v.ValueFrom.FileKeyRef.VolumeName
			at := at.Child("env").Index(i).Child("valueFrom", "fileKeyRef", "volumeName")
			switch j := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == name }); {
			case j < 0:
				errs = append(errs, field.NotFound(at, name))
			case spec.Volumes[j].EmptyDir == nil:
				errs = append(errs, field.Invalid(at, name, "referenced volume must be of type emptyDir"))
			}
		}
	})
	return errs
}

// validateKeyRef checks a reference to one key of a ConfigMap or a Secret.
func validateKeyRef(name, key string, path *field.Path) field.ErrorList {
	errs := messages(path.Child("name"), name, validation.IsDNS1123Subdomain(name))
	if key == "" {
		return append(errs, field.Required(path.Child("key"), ""))
	}
	return append(errs, messages(path.Child("key"), key, validation.IsConfigMapKey(key))...)
}

// validateFieldRef agrees with upstream's validateObjectFieldSelector.
func validateFieldRef(ref *corev1.ObjectFieldSelector, valid sets.Set[string], path *field.Path) field.ErrorList {
	switch {
	case ref.APIVersion == "":
		return field.ErrorList{field.Required(path.Child("apiVersion"), "")}
	case ref.FieldPath == "":
		return field.ErrorList{field.Required(path.Child("fieldPath"), "")}
	}
	at := path.Child("fieldPath")
	convert := func(msg string) field.ErrorList {
		return field.ErrorList{field.Invalid(at, ref.FieldPath, "error converting fieldPath: "+msg)}
	}
	if ref.APIVersion != "v1" {
		return convert(fmt.Sprintf("unsupported pod version: %s", ref.APIVersion))
	}
	if name, key, ok := subscript(ref.FieldPath); ok {
		switch name {
		case "metadata.annotations":
			return messages(at, key, validation.IsQualifiedName(strings.ToLower(key)))
		case "metadata.labels":
			return messages(at, key, validation.IsQualifiedName(key))
		}
		return convert(fmt.Sprintf("field label does not support subscript: %s", ref.FieldPath))
	}
	known := envFields().Union(fileFields()).Insert("spec.restartPolicy", "spec.schedulerName", "status.phase", "spec.host")
	if !known.Has(ref.FieldPath) {
		return convert(fmt.Sprintf("field label not supported: %s", ref.FieldPath))
	}
	if !valid.Has(ref.FieldPath) {
		return field.ErrorList{field.NotSupported(at, ref.FieldPath, sets.List(valid))}
	}
	return nil
}

// subscript splits metadata.labels['key'].
func subscript(path string) (name, key string, ok bool) {
	name, rest, found := strings.Cut(path, "['")
	if !found || !strings.HasSuffix(rest, "']") {
		return path, "", false
	}
	return name, strings.TrimSuffix(rest, "']"), true
}

// validateResourceRef agrees with upstream's validateContainerResourceFieldSelector.
func validateResourceRef(ref *corev1.ResourceFieldSelector, path *field.Path, volume bool) field.ErrorList {
	switch {
	case volume && ref.ContainerName == "":
		return field.ErrorList{field.Required(path.Child("containerName"), "")}
	case ref.Resource == "":
		return field.ErrorList{field.Required(path.Child("resource"), "")}
	}
	var errs field.ErrorList
	huge := strings.HasPrefix(ref.Resource, "requests."+corev1.ResourceHugePagesPrefix) || strings.HasPrefix(ref.Resource, "limits."+corev1.ResourceHugePagesPrefix)
	if !huge && !containerResources().Has(ref.Resource) {
		errs = append(errs, field.NotSupported(path.Child("resource"), ref.Resource, sets.List(containerResources())))
	}
	return append(errs, validateDivisor(ref.Resource, ref.Divisor, path)...)
}

func validateDivisor(name string, divisor resource.Quantity, path *field.Path) field.ErrorList {
	if divisor.IsZero() {
		return nil // means one
	}
	check := func(what string, valid ...string) field.ErrorList {
		for _, v := range valid {
			if divisor.Cmp(resource.MustParse(v)) == 0 {
				return nil
			}
		}
		return field.ErrorList{field.Invalid(path.Child("divisor"), name, fmt.Sprintf("only divisor's values %s are supported with the %s resource", strings.Join(valid, ", "), what))}
	}
	bytes := []string{"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}
	switch {
	case strings.HasSuffix(name, ".cpu"):
		if divisor.Cmp(resource.MustParse("1m")) == 0 || divisor.Cmp(resource.MustParse("1")) == 0 {
			return nil
		}
		return field.ErrorList{field.Invalid(path.Child("divisor"), name, "only divisor's values 1m and 1 are supported with the cpu resource")}
	case strings.HasSuffix(name, ".memory"):
		return check("memory", bytes...)
	case strings.HasSuffix(name, ".ephemeral-storage"):
		return check("local ephemeral storage", bytes...)
	}
	return nil
}

// validateEnvFrom agrees with upstream's ValidateEnvFrom.
func validateEnvFrom(list []corev1.EnvFromSource, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, from := range list {
		at := path.Index(i)
		if from.Prefix != "" {
			errs = append(errs, messages(at.Child("prefix"), from.Prefix, validation.IsRelaxedEnvVarName(from.Prefix))...)
		}
		sources := 0
		if r := from.ConfigMapRef; r != nil {
			sources++
			errs = append(errs, validateRefName(r.Name, at.Child("configMapRef"))...)
		}
		if r := from.SecretRef; r != nil {
			sources++
			errs = append(errs, validateRefName(r.Name, at.Child("secretRef"))...)
		}
		switch {
		case sources == 0:
			errs = append(errs, field.Invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
		case sources > 1:
			errs = append(errs, field.Invalid(path, "", "may not have more than one field specified at a time"))
		}
	}
	return errs
}

func validateRefName(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path.Child("name"), "")}
	}
	return messages(path.Child("name"), name, validation.IsDNS1123Subdomain(name))
}
