package images

import (
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"go.skiff.dev/skiff/test/e2e/cluster"
	"go.skiff.dev/skiff/test/testimage"
)

// TestRegistrySettings changes the node's settings for registries under a
// running skiff: no pull needs a restart to see them.
func TestRegistrySettings(t *testing.T) {
	dir := t.TempDir()
	write := func(name, data string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	c := cluster.Start(t, "--registries="+filepath.Join(dir, "registries.yaml"))
	busybox, err := testimage.Busybox("images/busybox:1")
	if err != nil {
		t.Fatal(err)
	}
	host, manifest := private(t, busybox)
	empty := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(empty.Close)
	// A registry of this name is nowhere: .invalid never resolves (RFC 2606).
	const ref = "reg.invalid/app:1"
	start(c, "early", ref, "")
	says(t, c, "early", waiting, "ErrImagePull", "reg.invalid")

	mirrors := fmt.Sprintf("mirrors:\n  reg.invalid:\n    endpoint: [%q, \"http://%s\"]\n    rewrite:\n      \"^(.*)$\": \"team/$1\"\n", empty.URL, host)
	write("registries.yaml", mirrors)
	if out, err := c.Try("image", "pull", ref); err == nil || !strings.Contains(out, host) || !strings.Contains(out, "401") {
		t.Errorf("a mirror that asks for a password: %v, %s", err, out)
	}
	write("registries.yaml", mirrors+fmt.Sprintf("configs:\n  %q:\n    auth: {username: %s, password: %s}\n", host, user, password))
	start(c, "mirrored", ref, `,"command":["sleep","1000"]`)
	c.WaitFor("condition=Ready", "pod/mirrored")
	if id := field(c, "mirrored", ".status.containerStatuses[0].imageID"); id != "reg.invalid/app@"+manifest.String() {
		t.Errorf("the image's ID is %s: a mirror must not show in it", id)
	}

	file := write("registries.yaml", mirrors+"configs:\n  x:\n    auht: {password: secret}\n")
	start(c, "broken", ref, `,"imagePullPolicy":"Always"`)
	says(t, c, "broken", waiting, "ErrImagePull", file+": line 8: field auht is not known")

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	write("certs.d/reg.invalid/hosts.toml", fmt.Sprintf("server = \"http://%s/v2/team\"\noverride_path = true\n", host))
	write("auth.json", fmt.Sprintf(`{"auths":{%q:{"username":%q,"password":%q}}}`, host, user, password))
	if out := c.Skiff("image", "pull", ref); !strings.Contains(out, ref) {
		t.Errorf("by hosts.toml and auth.json: %s", out)
	}
	write("certs.d/reg.invalid/hosts.toml", "server = ")
	if out, err := c.Try("image", "pull", ref); err == nil || !strings.Contains(out, "certs.d/reg.invalid/hosts.toml: line 1") {
		t.Errorf("a broken hosts.toml: %v, %s", err, out)
	}
	c.Kubectl("delete", "pod", "--all")
}
