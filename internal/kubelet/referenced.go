package kubelet

import (
	v1 "k8s.io/api/core/v1"
)

// referenced lists the ConfigMaps and Secrets that a pod names.
func referenced(pod *v1.Pod) []objectKey {
	var keys []objectKey
	seen := map[objectKey]bool{}
	add := func(secret bool, name string) {
		key := objectKey{secret, pod.Namespace, name}
		if name != "" && !seen[key] {
			seen[key] = true
			keys = append(keys, key)
		}
	}
	for _, v := range pod.Spec.Volumes {
		switch {
		case v.ConfigMap != nil:
			add(false, v.ConfigMap.Name)
		case v.Secret != nil:
			add(true, v.Secret.SecretName)
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				if s.ConfigMap != nil {
					add(false, s.ConfigMap.Name)
				}
				if s.Secret != nil {
					add(true, s.Secret.Name)
				}
			}
		}
	}
	eachContainer(pod, func(c *v1.Container) {
		for _, e := range c.EnvFrom {
			if e.ConfigMapRef != nil {
				add(false, e.ConfigMapRef.Name)
			}
			if e.SecretRef != nil {
				add(true, e.SecretRef.Name)
			}
		}
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.ConfigMapKeyRef != nil {
				add(false, e.ValueFrom.ConfigMapKeyRef.Name)
			}
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				add(true, e.ValueFrom.SecretKeyRef.Name)
			}
		}
	})
	return keys
}
