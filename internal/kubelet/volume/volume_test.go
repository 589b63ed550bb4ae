package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
)

// fixed is a set of sources that tests change by hand.
type fixed struct {
	maps    map[string]*v1.ConfigMap
	secrets map[string]*v1.Secret
}

func (f fixed) ConfigMap(_ context.Context, _, name string) (*v1.ConfigMap, error) {
	if c := f.maps[name]; c != nil {
		return c, nil
	}
	return nil, apierrors.NewNotFound(v1.Resource("configmap"), name)
}

func (f fixed) Secret(_ context.Context, _, name string) (*v1.Secret, error) {
	if s := f.secrets[name]; s != nil {
		return s, nil
	}
	return nil, apierrors.NewNotFound(v1.Resource("secret"), name)
}

func (f fixed) Token(_ context.Context, pod *v1.Pod, audience string, _ int64) (string, time.Time, error) {
	return "token of " + pod.Name + " for " + audience, time.Now().Add(time.Hour), nil
}

func (f fixed) TrustBundle(context.Context, *v1.ClusterTrustBundleProjection) ([]byte, error) {
	return nil, errors.New("none")
}

func (f fixed) Field(pod *v1.Pod, ref *v1.ObjectFieldSelector) (string, error) {
	return ref.FieldPath + " of " + pod.Name, nil
}

func (f fixed) Resource(*v1.Pod, *v1.ResourceFieldSelector) (string, error) { return "1", nil }

// setup makes a manager and a pod with one volume; everything is unmounted and
// removed when the test ends.
func setup(t *testing.T, v v1.Volume) (*Manager, fixed, *v1.Pod, string) {
	t.Helper()
	f := fixed{map[string]*v1.ConfigMap{}, map[string]*v1.Secret{}}
	m := &Manager{Dir: t.TempDir(), Sources: f}
	pod := &v1.Pod{}
	pod.Name, pod.UID = "p", "uid"
	v.Name = "vol"
	pod.Spec.Volumes = []v1.Volume{v}
	pod.Spec.Containers = []v1.Container{{Name: "c"}}
	t.Cleanup(func() {
		if err := m.Teardown("uid", true); err != nil {
			t.Errorf("tearing down: %v", err)
		}
	})
	return m, f, pod, m.Path("uid", &pod.Spec.Volumes[0])
}

func must(t *testing.T, m *Manager, pod *v1.Pod) time.Time {
	t.Helper()
	refresh, err := m.Setup(t.Context(), pod)
	if err != nil {
		t.Fatal(err)
	}
	return refresh
}

func content(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestConfigMapFollowsItsSource(t *testing.T) {
	m, f, pod, path := setup(t, v1.Volume{VolumeSource: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "cm"}}}})
	if _, err := m.Setup(t.Context(), pod); err == nil || err.Error() != `MountVolume.SetUp failed for volume "vol" : configmap "cm" not found` {
		t.Fatalf("without the object: %v", err)
	}
	f.maps["cm"] = &v1.ConfigMap{Data: map[string]string{"a": "1", "b": "2"}, BinaryData: map[string][]byte{"bin": {0, 255}}}
	must(t, m, pod)
	if content(t, path, "a") != "1" || content(t, path, "bin") != "\x00\xff" {
		t.Error("wrong content")
	}
	before, err := os.Readlink(filepath.Join(path, dataLink))
	if err != nil {
		t.Fatal(err)
	}
	must(t, m, pod)
	if same, _ := os.Readlink(filepath.Join(path, dataLink)); same != before {
		t.Error("an unchanged volume was written again")
	}
	f.maps["cm"] = &v1.ConfigMap{Data: map[string]string{"a": "new"}}
	must(t, m, pod)
	if content(t, path, "a") != "new" {
		t.Error("the change did not arrive")
	}
	if _, err := os.Lstat(filepath.Join(path, "b")); !os.IsNotExist(err) {
		t.Errorf("the removed key is still there: %v", err)
	}
	if entries, _ := os.ReadDir(path); len(entries) != 3 { // the version, ..data, a
		t.Errorf("leftovers: %v", entries)
	}
}

func TestItemsAndModes(t *testing.T) {
	mode, def := int32(0o400), int32(0o440)
	m, f, pod, path := setup(t, v1.Volume{VolumeSource: v1.VolumeSource{Secret: &v1.SecretVolumeSource{
		SecretName: "s", DefaultMode: &def, Items: []v1.KeyToPath{{Key: "k", Path: "sub/dir/file", Mode: &mode}, {Key: "l", Path: "other"}},
	}}})
	f.secrets["s"] = &v1.Secret{Data: map[string][]byte{"k": []byte("x"), "l": []byte("y")}}
	must(t, m, pod)
	for name, want := range map[string]os.FileMode{"sub/dir/file": 0o400, "other": 0o440} {
		info, err := os.Stat(filepath.Join(path, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	if mounted, err := mountinfo.Mounted(path); err != nil || !mounted {
		t.Errorf("a secret must be in memory: %v %v", mounted, err)
	}
	f.maps["m"] = &v1.ConfigMap{}
	other := pod.DeepCopy()
	other.Spec.Volumes[0].VolumeSource = v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "m"}, Items: []v1.KeyToPath{{Key: "missing", Path: "x"}}}}
	if _, err := m.Setup(t.Context(), other); err == nil || !strings.HasSuffix(err.Error(), " : configmap references non-existent config key: missing") {
		t.Errorf("missing key of a ConfigMap: %v", err)
	}
	pod.Spec.Volumes[0].Secret.Items[0].Key = "missing"
	if _, err := m.Setup(t.Context(), pod); err == nil || !strings.Contains(err.Error(), "references non-existent secret key: missing") {
		t.Errorf("missing key: %v", err)
	}
}

func TestOptionalSourcesMayBeMissing(t *testing.T) {
	yes := true
	m, _, pod, path := setup(t, v1.Volume{VolumeSource: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "cm"}, Optional: &yes}}})
	must(t, m, pod)
	if entries, err := os.ReadDir(path); err != nil || len(entries) != 2 {
		t.Errorf("%v %v", entries, err)
	}
}

func TestProjected(t *testing.T) {
	group := int64(1234)
	m, f, pod, path := setup(t, v1.Volume{VolumeSource: v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{Sources: []v1.VolumeProjection{
		{ServiceAccountToken: &v1.ServiceAccountTokenProjection{Path: "token", Audience: "aud"}},
		{ConfigMap: &v1.ConfigMapProjection{LocalObjectReference: v1.LocalObjectReference{Name: "ca"}}},
		{DownwardAPI: &v1.DownwardAPIProjection{Items: []v1.DownwardAPIVolumeFile{{Path: "ns", FieldRef: &v1.ObjectFieldSelector{FieldPath: "metadata.namespace"}}}}},
	}}}})
	pod.Spec.SecurityContext = &v1.PodSecurityContext{FSGroup: &group}
	f.maps["ca"] = &v1.ConfigMap{Data: map[string]string{"ca.crt": "PEM"}}
	if refresh := must(t, m, pod); refresh.IsZero() {
		t.Error("a token must be renewed some day")
	}
	if content(t, path, "token") != "token of p for aud" || content(t, path, "ca.crt") != "PEM" || content(t, path, "ns") != "metadata.namespace of p" {
		t.Error("wrong content")
	}
	info, err := os.Stat(filepath.Join(path, "token"))
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("token: %v %v", info.Mode(), err)
	}
}

func TestPathsStayInside(t *testing.T) {
	for _, name := range []string{"", "/etc/x", "../x", "a/../../x", "..", "..data", "."} {
		if err := add(map[string]file{}, name, file{}); err == nil {
			t.Errorf("path %q was accepted", name)
		}
	}
}

func TestEmptyDirInMemory(t *testing.T) {
	size := resource.MustParse("1Mi")
	m, _, pod, path := setup(t, v1.Volume{VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{Medium: v1.StorageMediumMemory, SizeLimit: &size}}})
	must(t, m, pod)
	if err := os.WriteFile(filepath.Join(path, "big"), make([]byte, 2<<20), 0o600); err == nil {
		t.Error("the size limit does not hold")
	}
	if err := os.Remove(filepath.Join(path, "big")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "small"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, m, pod)
	if content(t, path, "small") != "x" {
		t.Error("a second setup lost the content")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
}

func TestHostPathTypes(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "file")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		kind v1.HostPathType
		ok   bool
	}{
		{dir, v1.HostPathDirectory, true}, {plain, v1.HostPathDirectory, false}, {plain, v1.HostPathFile, true}, {dir, v1.HostPathFile, false},
		{filepath.Join(dir, "none"), v1.HostPathDirectory, false}, {filepath.Join(dir, "new"), v1.HostPathDirectoryOrCreate, true},
		{filepath.Join(dir, "newfile"), v1.HostPathFileOrCreate, true}, {plain, v1.HostPathDirectoryOrCreate, false},
		{"/dev/null", v1.HostPathCharDev, true}, {"/dev/null", v1.HostPathBlockDev, false}, {plain, v1.HostPathSocket, false},
		{filepath.Join(dir, "any"), v1.HostPathUnset, true},
	} {
		err := setupHostPath(&v1.HostPathVolumeSource{Path: c.path, Type: &c.kind})
		if (err == nil) != c.ok {
			t.Errorf("%s as %q: %v", c.path, c.kind, err)
		}
	}
}

func TestSubPathStaysInside(t *testing.T) {
	m, _, pod, path := setup(t, v1.Volume{VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}})
	must(t, m, pod)
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(path, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "secret"), filepath.Join(path, "filelink")); err != nil {
		t.Fatal(err)
	}
	for i, sub := range []string{"link", "filelink", "link/secret", "../../../../etc"} {
		got, err := m.SubPath(pod, &pod.Spec.Volumes[0], "c", i, sub)
		if err != nil {
			continue
		}
		if text, _ := os.ReadFile(got); string(text) == "secret" {
			t.Errorf("sub path %q reads a file outside", sub)
		}
		if _, err := os.Stat(filepath.Join(got, "secret")); err == nil {
			t.Errorf("sub path %q leads outside", sub)
		}
	}
	if err := os.WriteFile(filepath.Join(path, "f"), []byte("inside"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, sub := range []string{"f", "made/for/me"} {
		for range 2 { // a restarted container asks again
			got, err := m.SubPath(pod, &pod.Spec.Volumes[0], fmt.Sprint("d", i), 0, sub)
			if err != nil {
				t.Fatal(err)
			}
			if sub == "f" && content(t, got) != "inside" {
				t.Error("wrong file")
			}
		}
	}
}

func TestTeardownReachesNothingElse(t *testing.T) {
	m, _, pod, path := setup(t, v1.Volume{VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}})
	must(t, m, pod)
	host := t.TempDir()
	if err := os.WriteFile(filepath.Join(host, "keep"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{Name: "host", VolumeSource: v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: host}}})
	if _, err := m.SubPath(pod, &pod.Spec.Volumes[1], "c", 0, "."); err != nil {
		t.Fatal(err)
	}
	if err := m.Teardown("uid", true); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(host, "keep")); err != nil {
		t.Errorf("the host's file is gone: %v", err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the volume is still there: %v", err)
	}
}

// TestNoGitRepo: CVE-2024-10220, CVE-2025-1767. The kind of volume that ran a repository's hooks is not there.
func TestNoGitRepo(t *testing.T) {
	m := &Manager{Dir: t.TempDir(), Sources: fixed{}}
	pod := &v1.Pod{Spec: v1.PodSpec{Volumes: []v1.Volume{{Name: "v", VolumeSource: v1.VolumeSource{GitRepo: &v1.GitRepoVolumeSource{Repository: "https://example.com/x"}}}}}}
	pod.UID = "uid"
	if _, err := m.Setup(t.Context(), pod); err == nil || !strings.Contains(err.Error(), "no volume plugin matched") {
		t.Errorf("a gitRepo volume: %v", err)
	}
}
