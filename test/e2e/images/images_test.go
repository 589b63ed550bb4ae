// Package images tests how images come to a node, and what a pod says whose
// image or command is not there.
package images

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.skiff.dev/skiff/test/e2e/cluster"
	"go.skiff.dev/skiff/test/testimage"
)

func TestImages(t *testing.T) {
	c := cluster.Start(t)
	busybox, err := testimage.Busybox("images/busybox:1")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("archives of all forms are imported", func(t *testing.T) { forms(t, c, busybox) })
	t.Run("a broken archive changes nothing", func(t *testing.T) { broken(t, c, busybox) })
	c.Import(busybox)
	t.Run("a used image stays", func(t *testing.T) { used(t, c) })
	t.Run("a pod says what is wrong with its image", func(t *testing.T) { reasons(t, c) })
	t.Run("an image of another architecture is refused", func(t *testing.T) { foreign(t, c, busybox) })
	t.Run("a registry that asks for a password", func(t *testing.T) { secrets(t, c, busybox) })
}

func archive(t *testing.T, image testimage.Image, oci bool) []byte {
	t.Helper()
	var buf bytes.Buffer
	write := image.WriteDockerArchive
	if oci {
		write = image.WriteOCILayout
	}
	if err := write(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// importing imports from a file, or from stdin where file is "-".
func importing(c *cluster.Cluster, file string, stdin []byte) (string, error) {
	cmd := c.Command("image", "import", file)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func forms(t *testing.T, c *cluster.Cluster, image testimage.Image) {
	for _, form := range []string{"docker", "oci"} {
		for _, packing := range []string{"plain", "gzip"} {
			for _, from := range []string{"file", "stdin"} {
				image.Names = []string{fmt.Sprintf("images/%s-%s-%s:1", form, packing, from)}
				data := archive(t, image, form == "oci")
				if packing == "gzip" {
					data = testimage.Gzip(data)
				}
				file := "-"
				if from == "file" {
					file = filepath.Join(t.TempDir(), "image.tar")
					if err := os.WriteFile(file, data, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				if out, err := importing(c, file, data); err != nil || out != "docker.io/"+image.Names[0]+"\n" {
					t.Errorf("%s: %v, %s", image.Names[0], err, out)
					continue
				}
				c.Skiff("image", "rm", image.Names[0])
			}
		}
	}
	if out := c.Skiff("image", "ls"); strings.Contains(out, "images/") {
		t.Errorf("after removing all:\n%s", out)
	}
}

func broken(t *testing.T, c *cluster.Cluster, image testimage.Image) {
	whole := archive(t, image, false)
	flipped := bytes.Clone(archive(t, image, true))
	at := bytes.Index(flipped, []byte("\x7fELF"))
	flipped[at+1000] ^= 1
	before := c.Skiff("image", "ls", "-o", "json")
	for name, bad := range map[string]struct {
		data []byte
		says string
	}{
		"truncated":         {whole[:len(whole)/2], "truncated"},
		"truncated gzip":    {testimage.Gzip(whole)[:100_000], "truncated"},
		"no archive":        {bytes.Repeat([]byte("no archive "), 1000), "no tar file"},
		"empty":             {nil, "no image"},
		"a changed layer":   {flipped, "digest"},
		"a tar of no image": {must(testimage.Layer{testimage.File("a", 0, []byte("b"))}.Tar()), "no image"},
	} {
		out, err := importing(c, "-", bad.data)
		if err == nil || !strings.Contains(out, bad.says) || strings.Count(out, "\n") != 1 {
			t.Errorf("%s: %v, %q; want one line that says %q", name, err, out, bad.says)
		}
	}
	if after := c.Skiff("image", "ls", "-o", "json"); after != before {
		t.Errorf("a refused archive left an image:\n%s\n%s", before, after)
	}
	if left, err := os.ReadDir(filepath.Join(c.Dir, "data/images/tmp")); err != nil || len(left) != 0 {
		t.Errorf("left in the store: %v, %v", left, err)
	}
}

func must(data []byte, err error) []byte {
	if err != nil {
		panic(err) // the members are constants
	}
	return data
}

// start makes a pod of one container.
func start(c *cluster.Cluster, name, image, more string) {
	c.Apply(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"` + name + `"},"spec":{"terminationGracePeriodSeconds":0,` +
		`"containers":[{"name":"main","image":"` + image + `"` + more + `}]}}`)
}

func field(c *cluster.Cluster, name, path string) string {
	return c.Kubectl("get", "pod", name, "-o", "jsonpath={"+path+"}")
}

func used(t *testing.T, c *cluster.Cluster) {
	start(c, "user", "images/busybox:1", `,"command":["sleep","1000"]`)
	c.WaitFor("condition=Ready", "pod/user")
	ref := field(c, "user", ".status.containerStatuses[0].imageID")
	if !strings.HasPrefix(ref, "docker.io/images/busybox@sha256:") {
		t.Errorf("the imported image's ID is %s, want its name with a digest", ref)
	}
	_, manifest, _ := strings.Cut(ref, "@")
	for _, name := range []string{"images/busybox:1", manifest} {
		if out, err := c.Try("image", "rm", name); err == nil || !strings.Contains(out, "in use") {
			t.Errorf("removing the used image as %s: %v, %s", name, err, out)
		}
	}
	if out := c.Kubectl("exec", "user", "--", "ls", "/bin/busybox"); out != "/bin/busybox\n" {
		t.Errorf("after the refused removal: %s", out)
	}
	c.Kubectl("delete", "pod", "user")
	start(c, "bydigest", ref, `,"command":["sleep","1000"],"imagePullPolicy":"Never"`)
	c.WaitFor("condition=Ready", "pod/bydigest")
	c.Kubectl("delete", "pod", "bydigest")
	if out, err := c.Try("image", "rm", "images/none:1"); err == nil || !strings.Contains(out, "not found") {
		t.Errorf("removing an image that is not there: %v, %s", err, out)
	}
}

// says waits until the container is in this state, and checks that its message
// and an event say what is wrong.
func says(t *testing.T, c *cluster.Cluster, name, path, reason, message string) {
	t.Helper()
	cluster.Until(t, func() error {
		if got := field(c, name, path+".reason"); got != reason {
			return fmt.Errorf("pod %s is %q, want %s: %s", name, got, reason, field(c, name, ".status"))
		}
		return nil
	})
	if got := field(c, name, path+".message"); !strings.Contains(got, message) {
		t.Errorf("pod %s: %s says %q, want %q in it", name, reason, got, message)
	}
}

const (
	waiting    = ".status.containerStatuses[0].state.waiting"
	terminated = ".status.containerStatuses[0].state.terminated"
)

func reasons(t *testing.T, c *cluster.Cluster) {
	start(c, "unknown", "127.0.0.1:9/none:1", "")
	says(t, c, "unknown", waiting, "ErrImagePull", "connection refused")
	says(t, c, "unknown", waiting, "ImagePullBackOff", "Back-off pulling image")
	start(c, "never", "images/none:1", `,"imagePullPolicy":"Never"`)
	says(t, c, "never", waiting, "ErrImageNeverPull", `Container image "images/none:1" is not present with pull policy of Never`)
	start(c, "invalid", "Not:A:Name", "")
	says(t, c, "invalid", waiting, "InvalidImageName", "Not:A:Name")
	start(c, "nocommand", "images/busybox:1", `,"command":["/bin/none"]`)
	says(t, c, "nocommand", ".status.containerStatuses[0].lastState.terminated", "StartError", `exec: "/bin/none": stat /bin/none: no such file or directory`)
	if code := field(c, "nocommand", ".status.containerStatuses[0].lastState.terminated.exitCode"); code != "128" {
		t.Errorf("a missing command has exit code %s, want 128", code)
	}
	says(t, c, "nocommand", waiting, "CrashLoopBackOff", "back-off")
	for name, want := range map[string][]string{
		"unknown":   {"Pulling", "Failed", "BackOff"},
		"never":     {"ErrImageNeverPull"},
		"invalid":   {"InspectFailed"},
		"nocommand": {"Pulled", "Created", "Failed", "BackOff"},
	} {
		events := c.Kubectl("get", "events", "--field-selector=involvedObject.name="+name, "-o", "jsonpath={.items[*].reason}")
		for _, reason := range want {
			if !strings.Contains(" "+events+" ", " "+reason+" ") {
				t.Errorf("pod %s has events %s, want %s", name, events, reason)
			}
		}
		c.Kubectl("delete", "pod", name)
	}
}

func foreign(t *testing.T, c *cluster.Cluster, image testimage.Image) {
	image.Names, image.Arch = []string{"images/foreign:1"}, "s390x"
	out, err := importing(c, "-", archive(t, image, false))
	if err == nil || !strings.Contains(out, "s390x") {
		t.Errorf("importing an image for s390x: %v, %s", err, out)
	}
}
