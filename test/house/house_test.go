// Package house tests the repository itself: who may import whom, that every
// package says what it is for, that lists are complete, and that documents
// speak of things that exist.
package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "go.skiff.dev/skiff/"

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath string
	Dir        string
	Doc        string
	Name       string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

var list = sync.OnceValues(func() ([]pkg, error) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,Name,GoFiles,Imports,Deps", "./...")
	cmd.Dir = root()
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var pkgs []pkg
	decoder := json.NewDecoder(bytes.NewReader(out))
	for {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs, nil
		} else if err != nil {
			return nil, err
		}
		pkgs = append(pkgs, p)
	}
})

func root() string { return filepath.Join("..", "..") }

func packages(t *testing.T) []pkg {
	t.Helper()
	pkgs, err := list()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if len(pkgs) < 20 {
		t.Fatalf("go list knows only %d packages", len(pkgs))
	}
	return pkgs
}

// short is the path below the module.
func (p pkg) short() string { return strings.TrimPrefix(p.ImportPath, module) }

// within tells whether a path is one of the trees or below it.
func within(path string, trees ...string) bool {
	return slices.ContainsFunc(trees, func(t string) bool { return path == t || strings.HasPrefix(path, t+"/") })
}

// law says what a tree of packages may import.
type law struct {
	tree string
	// ours are the trees of this module that it may import besides itself.
	ours []string
	// never are import paths (or their beginnings) of others that it may not.
	never []string
}

// kubernetes is every import that speaks of Kubernetes.
var kubernetes = []string{"k8s.io/"}

// laws is the import law of the house, in the order in which data flows.
func laws() []law {
	leaf := []string{"internal/kernel"}
	return []law{
		{"internal/kernel", nil, kubernetes},
		{"internal/systemd", nil, kubernetes},
		{"internal/oci", append(leaf, "internal/systemd"), kubernetes},
		{"internal/image", leaf, kubernetes},
		{"internal/podnet", append(leaf, "internal/relay"), kubernetes},
		{"internal/relay", nil, kubernetes},
		{"internal/supervisor", append(leaf, "internal/oci"), kubernetes},
		{"internal/container", []string{"internal/kernel", "internal/oci", "internal/image", "internal/podnet", "internal/supervisor", "internal/lifecycle", "internal/version", "internal/ocibin"}, []string{"k8s.io/api/", "k8s.io/client-go/", "k8s.io/apiserver/"}},
		{"internal/kubelet", []string{"internal/kernel", "internal/lifecycle", "internal/version", "internal/container"}, []string{"k8s.io/apiserver/pkg/registry"}},
		{"internal/controllers", []string{"internal/reconcile", "internal/lifecycle"}, nil},
		{"internal/scheduler", []string{"internal/reconcile", "internal/lifecycle"}, nil},
		{"internal/proxy", []string{"internal/endpoint", "internal/kernel", "internal/lifecycle", "internal/relay"}, nil},
		{"internal/dns", []string{"internal/endpoint", "internal/lifecycle"}, nil},
		{"internal/endpoint", nil, []string{"k8s.io/apiserver/"}},
		{"internal/store", []string{"internal/lifecycle"}, nil},
		{"internal/apiserver", []string{"internal/store", "internal/pki", "internal/lifecycle", "internal/config", "internal/version"}, nil},
		{"internal/anatomy", []string{"internal/kernel"}, kubernetes},
		{"internal/reconcile", []string{"internal/lifecycle"}, nil},
		{"internal/config", nil, kubernetes},
		{"internal/lifecycle", nil, kubernetes},
		{"internal/pki", nil, kubernetes},
		{"cmd/skiff-oci", []string{"internal/oci", "internal/supervisor", "internal/kernel", "internal/version"}, kubernetes},
	}
}

func TestImportLaw(t *testing.T) {
	pkgs := packages(t)
	for _, l := range laws() {
		found := false
		for _, p := range pkgs {
			if !within(p.short(), l.tree) {
				continue
			}
			found = true
			for _, i := range p.Imports {
				l.check(t, p, i)
			}
		}
		if !found {
			t.Errorf("the law speaks of %s, which does not exist", l.tree)
		}
	}
}

func (l law) check(t *testing.T, p pkg, imported string) {
	t.Helper()
	if ours, ok := strings.CutPrefix(imported, module); ok {
		if !within(ours, l.tree) && !within(ours, l.ours...) {
			t.Errorf("%s imports %s; %s may import only %q", p.short(), ours, l.tree, l.ours)
		}
		return
	}
	for _, never := range l.never {
		if strings.HasPrefix(imported, never) {
			t.Errorf("%s imports %s, which is not for %s", p.short(), imported, l.tree)
		}
	}
}

func TestOnlyDaemonKnowsAllAndOnlyCliKnowsDaemon(t *testing.T) {
	for _, p := range packages(t) {
		for _, i := range p.Imports {
			ours, ok := strings.CutPrefix(i, module)
			if !ok {
				continue
			}
			if ours == "internal/daemon" && p.short() != "internal/cli" {
				t.Errorf("%s imports the daemon; only internal/cli may", p.short())
			}
			if ours == "internal/store" && !within(p.short(), "internal/apiserver", "internal/daemon", "test") {
				t.Errorf("%s imports the store; it is handed to the API server and nobody else sees it", p.short())
			}
			if within(ours, "internal/controllers") && within(p.short(), "internal/controllers") && p.short() != "internal/controllers" && ours != "internal/controllers/podstate" {
				t.Errorf("%s imports %s; controllers meet only in the API", p.short(), ours)
			}
		}
	}
}

func TestProductNeverLinksKubernetesItself(t *testing.T) {
	for _, p := range packages(t) {
		for _, d := range p.Deps {
			if d == "k8s.io/kubernetes" || strings.HasPrefix(d, "k8s.io/kubernetes/") {
				t.Errorf("%s depends on %s", p.short(), d)
			}
		}
	}
	data := read(t, "go.mod")
	if regexp.MustCompile(`(?m)^replace\b`).MatchString(data) {
		t.Error("go.mod has a replace")
	}
}

// smallProgram bounds what the program at the kernel's edge may link: each of
// these costs milliseconds at every start of a container.
func TestSmallProgramStaysSmall(t *testing.T) {
	for _, p := range packages(t) {
		if p.short() != "cmd/skiff-oci" {
			continue
		}
		for _, heavy := range []string{"net/http", "google.golang.org/grpc", "google.golang.org/protobuf/proto", "github.com/spf13/cobra", "github.com/sirupsen/logrus", "crypto/tls"} {
			if slices.Contains(p.Deps, heavy) {
				t.Errorf("cmd/skiff-oci links %s", heavy)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment", p.short())
		}
	}
}

func TestFolderNames(t *testing.T) {
	banned := []string{"utils", "util", "helpers", "helper", "common", "types", "models", "interfaces", "pkg", "misc"}
	for _, p := range packages(t) {
		for part := range strings.SplitSeq(p.short(), "/") {
			if slices.Contains(banned, part) {
				t.Errorf("%s: a folder is an organ of the system, not %q", p.short(), part)
			}
		}
	}
}

// A container's init works in an init function, because those run on the first thread and before any other is needed.
func TestNoRegistrationInInit(t *testing.T) {
	pattern := regexp.MustCompile(`(?m)^func init\(\)`)
	for _, p := range packages(t) {
		if !within(p.short(), "internal", "cmd") {
			continue
		}
		for _, f := range p.GoFiles {
			data, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			if pattern.Match(data) && !strings.HasPrefix(f, "zz_generated") && filepath.Join(p.short(), f) != "cmd/skiff-oci/main.go" {
				t.Errorf("%s/%s has an init function: a flow should be one that can be read", p.short(), f)
			}
		}
	}
}

// read reads a file of the repository.
func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root(), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
