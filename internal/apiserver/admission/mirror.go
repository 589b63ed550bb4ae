package admission

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
)

// validateMirror refuses mirror pods that would lend a node what only the API
// may give: accounts and secrets.
func validateMirror(a admission.Attributes, pod *corev1.Pod) error {
	if pod.Spec.ServiceAccountName != "" {
		return admission.NewForbidden(a, errors.New("a mirror pod may not reference service accounts"))
	}
	if len(secretsOf(pod)) > 0 {
		return admission.NewForbidden(a, errors.New("a mirror pod may not reference secrets"))
	}
	for _, v := range pod.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.ServiceAccountToken != nil {
				return admission.NewForbidden(a, errors.New("a mirror pod may not use ServiceAccountToken volume projections"))
			}
		}
	}
	return nil
}

// mountable refuses secrets that the account does not list.
func mountable(a admission.Attributes, account *corev1.ServiceAccount, pod *corev1.Pod) error {
	var allowed, pullable []string
	for _, s := range account.Secrets {
		allowed = append(allowed, s.Name)
	}
	for _, s := range account.ImagePullSecrets {
		pullable = append(pullable, s.Name)
	}
	for _, use := range secretsOf(pod) {
		if !slices.Contains(allowed, use.secret) {
			return admission.NewForbidden(a, fmt.Errorf("%s with secret.secretName=%q is not allowed because service account %s does not reference that secret", use.where, use.secret, account.Name))
		}
	}
	for _, s := range pod.Spec.ImagePullSecrets {
		if !slices.Contains(pullable, s.Name) {
			return admission.NewForbidden(a, fmt.Errorf("imagePullSecrets[].name=%q is not allowed because service account %s does not reference that imagePullSecret", s.Name, account.Name))
		}
	}
	return nil
}

// secretUse is one place of a pod that names a secret.
type secretUse struct {
	where, secret string
}

func secretsOf(pod *corev1.Pod) []secretUse {
	var uses []secretUse
	for _, v := range pod.Spec.Volumes {
		if v.Secret != nil {
			uses = append(uses, secretUse{"volume " + v.Name, v.Secret.SecretName})
		}
	}
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range containers {
			for _, e := range c.Env {
				if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
					uses = append(uses, secretUse{"container " + c.Name + " with envVar " + e.Name, e.ValueFrom.SecretKeyRef.Name})
				}
			}
			for _, e := range c.EnvFrom {
				if e.SecretRef != nil {
					uses = append(uses, secretUse{"container " + c.Name + " with envFrom", e.SecretRef.Name})
				}
			}
		}
	}
	return uses
}
