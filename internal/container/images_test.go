package container

import (
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Credentials go to the server that they are for.
func TestCredentialsAreForTheirServer(t *testing.T) {
	for _, c := range []struct {
		server, image string
		given         bool
	}{
		{"", "registry.example.com/a", true},
		{"registry.example.com", "registry.example.com/a", true},
		{"https://registry.example.com/v2/", "registry.example.com/a", true},
		{"https://index.docker.io/v1/", "busybox", true},
		{"docker.io", "busybox", true},
		{"registry.example.com", "registry.example.com:5000/a", false},
		{"https://registry.example.com", "busybox", false},
	} {
		auth, err := authOf(&runtimeapi.AuthConfig{Username: "u", Password: "p", ServerAddress: c.server}, c.image)
		if err != nil || (auth.Username != "") != c.given {
			t.Errorf("server %q, image %q: %q, %v", c.server, c.image, auth.Username, err)
		}
	}
}
