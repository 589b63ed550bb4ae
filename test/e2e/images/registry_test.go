package images

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"

	"go.skiff.dev/skiff/test/e2e/cluster"
	"go.skiff.dev/skiff/test/testimage"
)

const user, password = "captain", "right"

// private is a registry on loopback that asks for a password.
func private(t *testing.T, image testimage.Image) (host string, manifest digest.Digest) {
	t.Helper()
	store := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, secret, _ := r.BasicAuth(); name != user || secret != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		store.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	packed, err := image.Pack()
	if err != nil {
		t.Fatal(err)
	}
	put := func(path, kind string, data []byte) {
		request, err := http.NewRequest(http.MethodPut, server.URL+path, bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		request.SetBasicAuth(user, password)
		request.Header.Set("Content-Type", kind)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode/100 != 2 {
			t.Fatalf("pushing %s: %s", path, response.Status)
		}
	}
	for _, blob := range append([][]byte{packed.Config}, packed.Layers...) {
		put("/v2/team/app/blobs/uploads/1?digest="+digest.FromBytes(blob).String(), "application/octet-stream", blob)
	}
	put("/v2/team/app/manifests/1", "application/vnd.oci.image.manifest.v1+json", packed.Manifest)
	return strings.TrimPrefix(server.URL, "http://"), digest.FromBytes(packed.Manifest)
}

// withSecret makes a pod that pulls with an image pull secret.
func withSecret(c *cluster.Cluster, name, image, secret string) {
	c.Apply(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"` + name + `"},"spec":{"terminationGracePeriodSeconds":0,"imagePullSecrets":[{"name":"` + secret + `"}],` +
		`"containers":[{"name":"main","image":"` + image + `","imagePullPolicy":"Always","command":["sleep","1000"]}]}}`)
}

func secrets(t *testing.T, c *cluster.Cluster, image testimage.Image) {
	host, manifest := private(t, image)
	ref := host + "/team/app:1"
	for name, secret := range map[string]string{"right": password, "wrong": "wrong"} {
		c.Kubectl("create", "secret", "docker-registry", name, "--docker-server="+host, "--docker-username="+user, "--docker-password="+secret)
	}
	start(c, "nosecret", ref, "")
	says(t, c, "nosecret", waiting, "ErrImagePull", "401")
	withSecret(c, "wrong", ref, "wrong")
	says(t, c, "wrong", waiting, "ErrImagePull", "refused the credentials")
	if message := field(c, "wrong", waiting+".message"); strings.Contains(message, "wrong\"") || strings.Contains(message, user+":") {
		t.Errorf("the message tells the password: %s", message)
	}
	if out, err := c.Try("image", "pull", ref); err == nil || strings.Count(out, "\n") > 1 || !strings.Contains(out, "401") {
		t.Errorf("pulling without a password: %v, %q", err, out)
	}
	withSecret(c, "right", ref, "right")
	c.WaitFor("condition=Ready", "pod/right")
	if id := field(c, "right", ".status.containerStatuses[0].imageID"); id != host+"/team/app@"+manifest.String() {
		t.Errorf("the pulled image's ID is %s, want the digest %s", id, manifest)
	}
	withSecret(c, "bydigest", host+"/team/app@"+manifest.String(), "right")
	c.WaitFor("condition=Ready", "pod/bydigest")
	withSecret(c, "nodigest", host+"/team/app@sha256:"+strings.Repeat("0", 64), "right")
	says(t, c, "nodigest", waiting, "ErrImagePull", "404")
	// A pod without the password must not use what another one pulled with it.
	start(c, "stranger", ref, `,"imagePullPolicy":"Always","command":["sleep","1000"]`)
	says(t, c, "stranger", waiting, "ErrImagePull", "401")
	c.Kubectl("delete", "pod", "--all")
}
