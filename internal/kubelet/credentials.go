package kubelet

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// dockerConfig is the content of a pull secret.
type dockerConfig struct {
	Auths map[string]dockerAuth `json:"auths"`
}

type dockerAuth struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// pullCredentials lists what to try for an image: each of the pod's pull secrets
// that names its registry, or else nothing. As upstream nothing is not tried after
// secrets: its error would hide that the registry refused a password.
func (k *Kubelet) pullCredentials(ctx context.Context, pod *v1.Pod, image string) []*runtimeapi.AuthConfig {
	var all []*runtimeapi.AuthConfig
	var lost []string
	for _, ref := range pod.Spec.ImagePullSecrets {
		if ref.Name == "" {
			continue // the API lets it through
		}
		s, err := k.deps.Client.CoreV1().Secrets(pod.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if err != nil {
			lost = append(lost, ref.Name)
			continue
		}
		for registry, auth := range secretAuths(s) {
			if matchesRegistry(registry, image) {
				all = append(all, authConfig(registry, auth))
			}
		}
	}
	if len(lost) > 0 {
		k.events.pod(pod, v1.EventTypeWarning, "FailedToRetrieveImagePullSecret",
			"Unable to retrieve some image pull secrets ("+strings.Join(lost, ", ")+"); attempting to pull the image may not succeed.")
	}
	if len(all) == 0 {
		return []*runtimeapi.AuthConfig{nil}
	}
	return all
}

// secretAuths reads both forms of a pull secret.
func secretAuths(s *v1.Secret) map[string]dockerAuth {
	var config dockerConfig
	if raw, ok := s.Data[v1.DockerConfigJsonKey]; ok {
		if json.Unmarshal(raw, &config) == nil {
			return config.Auths
		}
	}
	if raw, ok := s.Data[v1.DockerConfigKey]; ok {
		if json.Unmarshal(raw, &config.Auths) == nil {
			return config.Auths
		}
	}
	return nil
}

// matchesRegistry reports whether an entry of a docker configuration is meant
// for an image: its host is the same, and its path, if any, starts the image's.
func matchesRegistry(entry, image string) bool {
	entry = strings.TrimPrefix(strings.TrimPrefix(entry, "https://"), "http://")
	host, path, _ := strings.Cut(strings.TrimSuffix(entry, "/"), "/")
	if path == "v1" || path == "v2" {
		path = ""
	}
	imageHost, rest, found := strings.Cut(image, "/")
	if !found || !strings.ContainsAny(imageHost, ".:") && imageHost != "localhost" {
		imageHost, rest = "docker.io", image
	}
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		host = "docker.io"
	}
	return matchHost(host, imageHost) && (path == "" || rest == path || strings.HasPrefix(rest, path+"/") || strings.HasPrefix(rest, path+":"))
}

// matchHost compares hosts label by label; an entry's * stands for one label.
func matchHost(pattern, host string) bool {
	p, h := strings.Split(pattern, "."), strings.Split(host, ".")
	if len(p) != len(h) {
		return false
	}
	for i := range p {
		if p[i] != "*" && p[i] != h[i] {
			return false
		}
	}
	return true
}

func authConfig(registry string, a dockerAuth) *runtimeapi.AuthConfig {
	if a.Auth != "" && a.Username == "" {
		if raw, err := base64.StdEncoding.DecodeString(strings.TrimRight(a.Auth, "\x00")); err == nil {
			a.Username, a.Password, _ = strings.Cut(string(raw), ":")
		}
	}
	return &runtimeapi.AuthConfig{
		Username: a.Username, Password: a.Password, ServerAddress: registry,
		IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
	}
}
