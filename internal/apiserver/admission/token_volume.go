package admission

import (
	corev1 "k8s.io/api/core/v1"
)

const (
	// tokenVolumePrefix and tokenPath are where client libraries look.
	tokenVolumePrefix = "kube-api-access-"
	tokenPath         = "/var/run/secrets/kubernetes.io/serviceaccount"
	// tokenSeconds is the token's life: an hour, and seven seconds by which
	// upstream tells it from one that a user asked for.
	tokenSeconds = 60*60 + 7
	// rootCAConfigMap is published in every namespace by a controller.
	rootCAConfigMap = "kube-root-ca.crt"
)

// wantsToken: the pod's word counts before the account's.
func wantsToken(account *corev1.ServiceAccount, pod *corev1.Pod) bool {
	if pod.Spec.AutomountServiceAccountToken != nil {
		return *pod.Spec.AutomountServiceAccountToken
	}
	if account.AutomountServiceAccountToken != nil {
		return *account.AutomountServiceAccountToken
	}
	return true
}

// mountToken adds the volume with token, authority and namespace, and mounts it
// in each container that has nothing mounted at its path.
func (s *serviceAccount) mountToken(pod *corev1.Pod) {
	volume, exists := tokenVolume(pod)
	if !exists {
		volume = s.volume()
	}
	mount := corev1.VolumeMount{Name: volume, ReadOnly: true, MountPath: tokenPath}
	needed := false
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			if !mounts(containers[i], tokenPath) {
				containers[i].VolumeMounts = append(containers[i].VolumeMounts, mount)
				needed = true
			}
		}
	}
	if needed && !exists {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
			Name:         volume,
			VolumeSource: corev1.VolumeSource{Projected: tokenSource()},
		})
	}
}

// tokenVolume finds a volume of the kind in a pod that was read from a cluster
// and is created again.
func tokenVolume(pod *corev1.Pod) (string, bool) {
	for _, v := range pod.Spec.Volumes {
		if len(v.Name) > len(tokenVolumePrefix) && v.Name[:len(tokenVolumePrefix)] == tokenVolumePrefix && v.Projected != nil {
			return v.Name, true
		}
	}
	return "", false
}

func mounts(c corev1.Container, path string) bool {
	for _, m := range c.VolumeMounts {
		if m.MountPath == path {
			return true
		}
	}
	return false
}

func tokenSource() *corev1.ProjectedVolumeSource {
	return &corev1.ProjectedVolumeSource{
		DefaultMode: new(corev1.ProjectedVolumeSourceDefaultMode),
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: new(int64(tokenSeconds))}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: rootCAConfigMap},
				Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
				Path:     "namespace",
				FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
			}}}},
		},
	}
}
