package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Warnings says what of a pod's spec is accepted and still most likely not
// meant. It agrees with the main ones of upstream's GetWarningsForPodTemplate.
// path is that of the spec.
func Warnings(spec *corev1.PodSpec, path *field.Path) []string {
	if spec == nil {
		return nil
	}
	var list []string
	for i, ref := range spec.ImagePullSecrets {
		if ref.Name == "" {
			list = append(list, fmt.Sprintf("%s: invalid empty name %q", path.Child("imagePullSecrets").Index(i).Child("name"), ref.Name))
		}
	}
	for i, v := range spec.Volumes {
		if v.GitRepo != nil {
			list = append(list, fmt.Sprintf("%s: deprecated in v1.11, and disabled by default in v1.33+", path.Child("volumes").Index(i).Child("gitRepo")))
		}
	}
	if s := spec.TerminationGracePeriodSeconds; s != nil && *s < 0 {
		list = append(list, fmt.Sprintf("%s: must be >= 0; negative values are invalid and will be treated as 1", path.Child("terminationGracePeriodSeconds")))
	}
	ports := map[string]*field.Path{}
	for i := range spec.Containers {
		list = append(list, containerWarnings(&spec.Containers[i], path.Child("containers").Index(i), ports)...)
	}
	for i := range spec.InitContainers {
		list = append(list, containerWarnings(&spec.InitContainers[i], path.Child("initContainers").Index(i), map[string]*field.Path{})...)
	}
	return list
}

func containerWarnings(c *corev1.Container, path *field.Path, ports map[string]*field.Path) []string {
	var list []string
	for _, r := range []struct {
		name string
		of   corev1.ResourceList
	}{{"limits", c.Resources.Limits}, {"requests", c.Resources.Requests}} {
		for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
			if q, ok := r.of[name]; ok && q.MilliValue()%1000 != 0 {
				list = append(list, fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer", path.Child("resources", r.name).Key(string(name)), q.String()))
			}
		}
	}
	defined := map[string]bool{}
	for i, e := range c.Env {
		// A variable may be built from an earlier one of its own name.
		if defined[e.Name] && !strings.Contains(e.Value, "$("+e.Name+")") {
			list = append(list, fmt.Sprintf("%s: hides previous definition of %q, which may be dropped when using apply", path.Child("env").Index(i), e.Name))
		}
		defined[e.Name] = true
	}
	for i, p := range c.Ports {
		key := fmt.Sprintf("%d/%s", p.ContainerPort, p.Protocol)
		at := path.Child("ports").Index(i)
		if was, ok := ports[key]; ok {
			list = append(list, fmt.Sprintf("%s: duplicate port definition with %s", at, was))
			continue
		}
		ports[key] = at
	}
	return list
}
