package kubelet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"

	"go.skiff.dev/skiff/internal/kubelet/volume"
)

func TestEnvFileValue(t *testing.T) {
	for text, want := range map[string]string{
		"K='v'":                          "v",
		"K='v'\n":                        "v",
		"K='v'\r\n":                      "v",
		"# K='no'\n\n \t\n  K='v' # yes": "v",
		"K='first'\nK='second'":          "first",
		"A='1'\nK='a=b#c\"$(X)\\n'":      `a=b#c"$(X)\n`,
		"K='one\ntwo\n'":                 "one\ntwo\n",
		"K= 'v'":                         "",
		"OTHER='v'":                      "",
		"":                               "",
		"K='v'\nbroken":                  "v", // behind the key
		"broken\nK='v'":                  "line 1: missing '='",
		"\n='v'":                         "line 2: empty variable name",
		"K ='v'":                         "line 1: whitespace before '=' is not allowed",
		"K=v":                            "line 1: value must be enclosed in single quotes",
		"K=":                             "line 1: value must be enclosed in single quotes",
		"K=\"v\"":                        "line 1: value must be enclosed in single quotes",
		"A='1'\nK='v\nw":                 "line 2: unclosed single quote",
		"A='1\n2'x\nK='v'":               "line 2: unexpected content after closing quote",
	} {
		got, err := envFileValue(text, "K")
		if err != nil {
			got = strings.TrimPrefix(err.Error(), "invalid environment variable format at ")
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzEnvFile(f *testing.F) {
	f.Add("A='1'\nK='v\nw' # c\n")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := envFileValue(text, "K"); err == nil && strings.ContainsAny(got, "'") {
			t.Errorf("%q has a quote in it", got)
		}
	})
}

func TestFileValue(t *testing.T) {
	k := &Kubelet{volumes: &volume.Manager{Dir: t.TempDir()}}
	pod := podOfNames("Never", "a")
	pod.Spec.Volumes = []v1.Volume{{Name: "v", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}}}
	dir := k.volumes.Path("u", &pod.Spec.Volumes[0])
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "env")
	for _, path := range []string{filepath.Join(dir, "sub/env"), outside} {
		if err := os.WriteFile(path, []byte("K='v'\nEMPTY=''\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"in": "sub/env", "out": outside} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		volume, path, key string
		optional          bool
		want              string
		ok, fails         bool
	}{
		{volume: "v", path: "sub/env", key: "K", want: "v", ok: true},
		{volume: "v", path: "in", key: "K", want: "v", ok: true},
		{volume: "v", path: "out", key: "K", fails: true},
		{volume: "v", path: "pipe", key: "K", fails: true},
		{volume: "v", path: "../env", key: "K", fails: true},
		{volume: "v", path: "none", key: "K", optional: true, fails: true},
		{volume: "none", path: "env", key: "K", fails: true},
		{volume: "v", path: "in", key: "EMPTY", fails: true},
		{volume: "v", path: "in", key: "NONE", fails: true},
		{volume: "v", path: "in", key: "NONE", optional: true},
	} {
		got, ok, err := k.fileValue(pod, &v1.FileKeySelector{VolumeName: c.volume, Path: c.path, Key: c.key, Optional: &c.optional})
		if got != c.want || ok != c.ok || (err != nil) != c.fails {
			t.Errorf("%+v: %q %v %v", c, got, ok, err)
		}
	}
}
