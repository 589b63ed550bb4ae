package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"

	"go.skiff.dev/skiff/test/testimage"
)

const (
	suiteRepo = "k8s-staging-cri-tools/"
	e2eRepo   = "e2e-test-images/"
	// byDigest is the repository whose digest is a constant of the suite.
	byDigest = suiteRepo + "test-image-digest"
)

// picture is an image under the name that the suite asks its registry for.
type picture struct {
	repo string
	tags []string
	make func() (testimage.Image, error)
}

// pictures are the suite's images, made of Debian's programs.
func pictures(uid []byte, shell string) []picture {
	busybox := func() (testimage.Image, error) { return busybox(shell) }
	latest := []string{"latest"}
	list := []picture{
		{"pause", []string{"3.9"}, with(busybox, testimage.File("pause", 0o755, nil))},
		{e2eRepo + "busybox", []string{"1.29-2"}, busybox},
		{e2eRepo + "nginx", []string{"1.14-2"}, nginx()},
		{e2eRepo + "httpd", []string{"2.4.39-4"}, httpd},
		{e2eRepo + "nonewprivs", []string{"1.3"}, setuid(busybox, uid)},
		{suiteRepo + "hostnet-nginx-" + runtime.GOARCH, latest, nginx(testimage.File("etc/nginx/conf.d/default.conf", 0o644, []byte("server {\n listen 12003;\n root /usr/share/nginx/html;\n}\n")))},
		{suiteRepo + "test-image-predefined-group", latest, as("1000", with(busybox,
			testimage.File("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\ndefault-user:x:1000:1000::/home/default-user:/bin/sh\n")),
			testimage.File("etc/group", 0o644, []byte("root:x:0:\ndefault-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n")),
			testimage.Member{Header: owned("home/default-user", 1000)}))},
		{suiteRepo + "test-image-tag", []string{"test", "all"}, marked(busybox, "test-image-tag")},
		{suiteRepo + "test-image-tags", []string{"1", "2", "3"}, marked(busybox, "same-image")},
	}
	for name, user := range map[string]string{"uid": "1002", "username": "www-data", "uid-group": "1003:1004", "username-group": "www-data:1004"} {
		list = append(list, picture{suiteRepo + "test-image-user-" + name, latest, as(user, busybox)})
	}
	for _, name := range []string{"1", "2", "3", "latest", "digest"} {
		list = append(list, picture{suiteRepo + "test-image-" + name, latest, marked(busybox, "test-image-"+name)})
	}
	return list
}

type maker = func() (testimage.Image, error)

func with(base maker, files ...testimage.Member) maker {
	return func() (testimage.Image, error) {
		img, err := base()
		img.Layers = append(img.Layers, files)
		return img, err
	}
}

// busybox has what the suite's has beside Debian's: pgrep, ipcs, and a shell
// that runs programs from their files, where busybox-static runs its own.
func busybox(shell string) (testimage.Image, error) {
	img, err := testimage.Busybox()
	if err != nil {
		return img, err
	}
	more, err := testimage.Programs(map[string]string{"/bin/sh": shell, "/usr/bin/pgrep": "/usr/bin/pgrep", "/usr/bin/ipcs": "/usr/bin/ipcs"})
	img.Layers = append(img.Layers, more)
	return img, err
}

// debianShell is the busybox of a package that cannot be installed beside busybox-static.
func debianShell(dir string) (string, error) {
	script := "cd " + dir + " && apt-get download -qq busybox && dpkg -x busybox_*.deb busybox"
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		return "", fmt.Errorf("getting Debian's busybox: %w\n%s", err, out)
	}
	return filepath.Join(dir, "busybox/bin/busybox"), nil
}

func nginx(files ...testimage.Member) maker {
	files = append(files, testimage.Symlink("var/run", "/run"))
	return with(func() (testimage.Image, error) { return testimage.Nginx() }, files...)
}

// httpd is nginx with the words of Apache's that the suite looks for.
func httpd() (testimage.Image, error) {
	img, err := nginx(testimage.File("usr/share/nginx/html/index.html", 0o644, []byte("<html><body><h1>It works!</h1></body></html>\n")))()
	img.Config.Cmd = []string{"sh", "-c", "echo httpd starts; exec nginx -g 'daemon off;'"}
	return img, err
}

func marked(base maker, name string) maker {
	return with(base, testimage.File(name, 0o644, nil))
}

func as(user string, base maker) maker {
	return func() (testimage.Image, error) {
		img, err := base()
		img.Config.User = user
		return img, err
	}
}

func setuid(base maker, program []byte) maker {
	return func() (testimage.Image, error) {
		img, err := base()
		img.Layers = append(img.Layers, testimage.Layer{testimage.File("nnp", 0o4755, program)})
		img.Config.Entrypoint, img.Config.Cmd = []string{"/nnp"}, nil
		return img, err
	}
}

// serve puts the pictures into a registry on loopback and returns its address
// and the digest of the image that the suite names by digest.
func serve(dir string) (*httptest.Server, digest.Digest, error) {
	program := filepath.Join(dir, "effectiveuid")
	if out, err := exec.Command("go", "build", "-o", program, "./test/cri/effectiveuid").CombinedOutput(); err != nil {
		return nil, "", fmt.Errorf("building effectiveuid: %w\n%s", err, out)
	}
	uid, err := os.ReadFile(program)
	if err != nil {
		return nil, "", err
	}
	shell, err := debianShell(dir)
	if err != nil {
		return nil, "", err
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	var named digest.Digest
	for _, p := range pictures(uid, shell) {
		manifest, err := push(server.URL+"/v2/"+p.repo, p)
		if err != nil {
			server.Close()
			return nil, "", fmt.Errorf("pushing %s: %w", p.repo, err)
		}
		if p.repo == byDigest {
			named = manifest
		}
	}
	return server, named, nil
}

func push(url string, p picture) (digest.Digest, error) {
	img, err := p.make()
	if err != nil {
		return "", err
	}
	img.Gzip = true
	packed, err := img.Pack()
	if err != nil {
		return "", err
	}
	for _, blob := range append([][]byte{packed.Config}, packed.Layers...) {
		if err := put(url+"/blobs/uploads/1?digest="+digest.FromBytes(blob).String(), "application/octet-stream", blob); err != nil {
			return "", err
		}
	}
	for _, tag := range p.tags {
		if err := put(url+"/manifests/"+tag, "application/vnd.oci.image.manifest.v1+json", packed.Manifest); err != nil {
			return "", err
		}
	}
	return digest.FromBytes(packed.Manifest), nil
}

func put(url, kind string, data []byte) error {
	req, err := http.NewRequest(http.MethodPut, url, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", kind)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("PUT %s: %s", url, resp.Status)
	}
	return nil
}
