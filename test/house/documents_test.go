package house

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// direct lists the modules that go.mod requires directly.
func direct(t *testing.T) []string {
	t.Helper()
	var modules []string
	for line := range strings.SplitSeq(read(t, "go.mod"), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 2 && strings.HasPrefix(line, "\t") && strings.HasPrefix(fields[1], "v") {
			modules = append(modules, fields[0])
		}
	}
	if len(modules) < 10 {
		t.Fatalf("go.mod requires only %q", modules)
	}
	return modules
}

func TestDependencyLedgerIsComplete(t *testing.T) {
	ledger := read(t, "docs/dependencies.md")
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")
	var listed []string
	for _, m := range row.FindAllStringSubmatch(ledger, -1) {
		listed = append(listed, m[1])
	}
	for _, m := range direct(t) {
		if !slices.Contains(listed, m) {
			t.Errorf("docs/dependencies.md has no row for %s", m)
		}
	}
	for _, m := range listed {
		if !slices.Contains(direct(t), m) {
			t.Errorf("docs/dependencies.md has a row for %s, which go.mod does not require", m)
		}
	}
}

func TestMapOfOrgansIsComplete(t *testing.T) {
	text := read(t, "internal/README.md")
	dirs, err := os.ReadDir(filepath.Join(root(), "internal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if d.IsDir() && !strings.Contains(text, "`"+d.Name()+"/`") {
			t.Errorf("internal/README.md has no line for %s/", d.Name())
		}
	}
}

// TestDocumentsLinkToWhatExists follows the relative links of all documents.
func TestDocumentsLinkToWhatExists(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	err := filepath.WalkDir(root(), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".md" || strings.Contains(path, "/.git/") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(string(data), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s links to %s, which does not exist", path, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestReadmeNamesVerbsThatExist checks that each `make` verb in the documents is one.
func TestReadmeNamesVerbsThatExist(t *testing.T) {
	makefile := read(t, "Makefile")
	verb := regexp.MustCompile("`make ([a-z-]+)")
	for _, name := range []string{"README.md", "CONTRIBUTING.md"} {
		for _, m := range verb.FindAllStringSubmatch(read(t, name), -1) {
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("%s speaks of `make %s`, which the Makefile does not have", name, m[1])
			}
		}
	}
}

func TestEveryControllerIsListed(t *testing.T) {
	list := read(t, "internal/controllers/controllers.go")
	dirs, err := os.ReadDir(filepath.Join(root(), "internal/controllers"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		// podstate is what several controllers know of pods, no controller.
		if d.IsDir() && d.Name() != "podstate" && !strings.Contains(list, d.Name()+".New(") {
			t.Errorf("controllers.go does not list %s", d.Name())
		}
	}
}

func TestLockFilesRecordNoAddresses(t *testing.T) {
	address := regexp.MustCompile(`https?://`)
	for _, name := range []string{"go.mod", "go.sum", "tools/go.mod", "tools/go.sum", "test/conformance/go.mod", "test/conformance/go.sum"} {
		if address.MatchString(read(t, name)) {
			t.Errorf("%s records a download address", name)
		}
	}
}

// TestThreatsNameTestsThatExist: a defence whose test was renamed would seem to have none, or worse, to have one.
func TestThreatsNameTestsThatExist(t *testing.T) {
	declared := map[string]bool{}
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(root(), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		for _, m := range declaration.FindAllSubmatch(data, -1) {
			declared[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)`").FindAllStringSubmatch(read(t, "docs/threats.md"), -1)
	if len(named) < 30 {
		t.Errorf("docs/threats.md names only %d tests", len(named))
	}
	for _, m := range named {
		if !declared[m[1]] {
			t.Errorf("docs/threats.md names %s, which is not there", m[1])
		}
	}
}
