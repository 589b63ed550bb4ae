package kubelet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/kubectl/pkg/util/fieldpath"
)

// variable is one resolved environment variable.
type variable struct{ Name, Value string }

// objectReader reads the ConfigMaps and Secrets that pods refer to.
type objectReader interface {
	ConfigMap(ctx context.Context, namespace, name string) (*v1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*v1.Secret, error)
}

// environment resolves a container's variables: envFrom first, then env in its
// order, each of which may use those before it, the services' variables under
// all of them.
func (k *Kubelet) environment(ctx context.Context, pod *v1.Pod, c *v1.Container, ips []string) ([]variable, error) {
	services := k.serviceVariables(pod)
	result := map[string]string{}
	for i := range c.EnvFrom {
		if err := envFrom(ctx, k.objects, pod, &c.EnvFrom[i], result); err != nil {
			return nil, err
		}
	}
	lookup := func(name string) (string, bool) {
		if v, ok := result[name]; ok {
			return v, true
		}
		v, ok := services[name]
		return v, ok
	}
	for i := range c.Env {
		e := &c.Env[i]
		value, ok := expand(e.Value, lookup), true
		if e.ValueFrom != nil && e.Value == "" {
			var err error
			if value, ok, err = k.valueFrom(ctx, pod, c, e.ValueFrom, ips); err != nil {
				return nil, err
			}
		}
		if ok {
			result[e.Name] = value
		}
	}
	for name, value := range services {
		if _, ok := result[name]; !ok {
			result[name] = value
		}
	}
	var all []variable
	for _, name := range slices.Sorted(maps.Keys(result)) {
		all = append(all, variable{name, result[name]})
	}
	return all, nil
}

// envFrom adds all pairs of a ConfigMap or Secret.
func envFrom(ctx context.Context, objects objectReader, pod *v1.Pod, from *v1.EnvFromSource, result map[string]string) error {
	data := map[string]string{}
	var err error
	optional := false
	switch {
	case from.ConfigMapRef != nil:
		optional = from.ConfigMapRef.Optional != nil && *from.ConfigMapRef.Optional
		var cm *v1.ConfigMap
		if cm, err = objects.ConfigMap(ctx, pod.Namespace, from.ConfigMapRef.Name); err == nil {
			data = cm.Data
		}
	case from.SecretRef != nil:
		optional = from.SecretRef.Optional != nil && *from.SecretRef.Optional
		var s *v1.Secret
		if s, err = objects.Secret(ctx, pod.Namespace, from.SecretRef.Name); err == nil {
			for key, value := range s.Data {
				data[key] = string(value)
			}
		}
	}
	if err != nil && !(optional && apierrors.IsNotFound(err)) {
		return err
	}
	for key, value := range data {
		name := from.Prefix + key
		// Any name the API takes; the RFC's stricter set is not asked for (KEP-4369).
		if len(validation.IsRelaxedEnvVarName(name)) == 0 {
			result[name] = value
		}
	}
	return nil
}

// valueFrom resolves one source. ok is false for an optional source that is missing.
func (k *Kubelet) valueFrom(ctx context.Context, pod *v1.Pod, c *v1.Container, from *v1.EnvVarSource, ips []string) (value string, ok bool, err error) {
	switch {
	case from.FieldRef != nil:
		value, err = k.fieldValue(pod, from.FieldRef, ips)
		return value, true, err
	case from.ResourceFieldRef != nil:
		value, err = resourceValue(pod, c, from.ResourceFieldRef, k.capacity.allocatable())
		return value, true, err
	case from.ConfigMapKeyRef != nil:
		return configMapValue(ctx, k.objects, pod, from.ConfigMapKeyRef)
	case from.SecretKeyRef != nil:
		return secretValue(ctx, k.objects, pod, from.SecretKeyRef)
	case from.FileKeyRef != nil:
		return k.fileValue(pod, from.FileKeyRef)
	default:
		return "", false, errors.New("environment variable has a source that is not supported")
	}
}

func configMapValue(ctx context.Context, objects objectReader, pod *v1.Pod, ref *v1.ConfigMapKeySelector) (string, bool, error) {
	optional := ref.Optional != nil && *ref.Optional
	cm, err := objects.ConfigMap(ctx, pod.Namespace, ref.Name)
	if err != nil {
		if optional && apierrors.IsNotFound(err) {
			return "", false, nil
		}
		return "", false, err
	}
	value, ok := cm.Data[ref.Key]
	if !ok && !optional {
		return "", false, fmt.Errorf("couldn't find key %v in ConfigMap %v/%v", ref.Key, pod.Namespace, ref.Name)
	}
	return value, ok, nil
}

func secretValue(ctx context.Context, objects objectReader, pod *v1.Pod, ref *v1.SecretKeySelector) (string, bool, error) {
	optional := ref.Optional != nil && *ref.Optional
	s, err := objects.Secret(ctx, pod.Namespace, ref.Name)
	if err != nil {
		if optional && apierrors.IsNotFound(err) {
			return "", false, nil
		}
		return "", false, err
	}
	value, ok := s.Data[ref.Key]
	if !ok && !optional {
		return "", false, fmt.Errorf("couldn't find key %v in Secret %v/%v", ref.Key, pod.Namespace, ref.Name)
	}
	return string(value), ok, nil
}

// fieldValue resolves a field of the pod (the downward API).
func (k *Kubelet) fieldValue(pod *v1.Pod, ref *v1.ObjectFieldSelector, ips []string) (string, error) {
	switch ref.FieldPath {
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(k.hostIPs()), nil
	case "status.hostIPs":
		return strings.Join(k.hostIPs(), ","), nil
	case "status.podIP":
		return first(ips), nil
	case "status.podIPs":
		return strings.Join(ips, ","), nil
	}
	return fieldpath.ExtractFieldPathAsString(pod, ref.FieldPath)
}

func first(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return all[0]
}

func expandAll(texts []string, env []variable) []string {
	values := map[string]string{}
	for _, e := range env {
		values[e.Name] = e.Value
	}
	var out []string
	for _, t := range texts {
		out = append(out, expand(t, func(name string) (string, bool) { v, ok := values[name]; return v, ok }))
	}
	return out
}

// expand replaces $(NAME) by the variable's value. What is not known stays as it
// is, and $$ is one $ (so that $$(NAME) is never expanded).
func expand(text string, lookup func(string) (string, bool)) string {
	if !strings.Contains(text, "$") {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		switch text[i+1] {
		case '$':
			out.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(text[i+2:], ')')
			if end < 0 {
				out.WriteByte('$')
				continue
			}
			name := text[i+2 : i+2+end]
			if value, ok := lookup(name); ok {
				out.WriteString(value)
			} else {
				out.WriteString(text[i : i+3+end])
			}
			i += 2 + end
		default:
			out.WriteByte('$')
		}
	}
	return out.String()
}
