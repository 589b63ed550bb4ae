package security

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// attack is one row of the history of attacks on this layer, and the tests that
// show what became of it here: "TestX" of this package, or "DIR TestX" of
// another one.
type attack struct {
	numbers string
	tests   []string
	// why says why there is nothing to test.
	why string
}

// attacks are the rows of docs/threats.md that concern images, containers and
// the node agent.
func attacks() []attack {
	return []attack{
		// The OCI runtime.
		{"2019-5736", []string{"TestRuntimeIsNotRewritten", "internal/oci TestSelfExe"}, ""},
		{"2016-9962 2024-21626", []string{"TestDescriptorsDoNotLeak", "internal/oci TestWorkingDirectoryThroughDescriptor"}, ""},
		{"2019-16884 2019-19921 2023-27561 2023-28642", []string{"TestHostileImages", "TestRaceOfSettings", "internal/oci TestProcIsLink", "internal/oci TestMountInsideProc"}, ""},
		{"2021-30465 2024-45310", []string{"TestRaceOfMountTargets", "TestHostileImages", "internal/oci TestLinkOutOfRoot"}, ""},
		{"2025-31133", []string{"TestRaceOfMasking", "internal/oci TestNullIsLink"}, ""},
		{"2025-52565", []string{"TestRaceOfConsole", "internal/oci TestTerminal"}, ""},
		{"2025-52881", []string{"TestRaceOfSettings", "TestWritesToProcAreChecked"}, ""},
		{"2026-41579 2026-47766", []string{"TestHostileImages", "internal/oci TestDevIsLink"}, ""},
		{"2022-29162 2022-27650 2023-25809", []string{"internal/container TestContainerIsConfined"}, ""},
		{"2026-30892 2024-40635", []string{"internal/container TestParseID", "internal/container FuzzParseID", "internal/container TestUsers", "internal/container FuzzAccounts"}, ""},
		{"2022-0185 2022-0492", []string{"internal/container TestContainerIsConfined", "internal/oci TestOutput"}, ""},
		// The container layer.
		{"2020-15257", []string{"test/e2e/access TestAccess", "internal/container TestServedOnASocket"}, ""},
		{"2022-23648", []string{"internal/container TestImageVolumesStayInTheImage"}, ""},
		{"2021-43816", nil, "nothing of the host is relabelled"},
		{"2023-25153 2024-5154", []string{"internal/container TestHostileAccounts", "TestHostileImages"}, ""},
		{"2026-53488", []string{"internal/container TestLabelsOfAnImageAreNoInstructions"}, ""},
		{"2026-53492 2026-50195", nil, "checkpoints are not imported"},
		{"2026-53489", []string{"internal/kubelet/nodeapi TestLogIsNoLink", "internal/kubelet/nodeapi TestRotatedLogIsNoLink", "internal/supervisor TestLogStaysBelowItsDirectory"}, ""},
		{"2022-0811", []string{"internal/container TestSysctls", "internal/container FuzzSandboxSysctl", "internal/oci TestValidate", "internal/oci FuzzSysctl"}, ""},
		{"2024-3154", []string{"internal/container TestAnnotationsStayOut"}, ""},
		{"2023-2431", []string{"internal/kubelet TestLocalProfileHasAName"}, ""},
		// Images.
		{"2021-32760 2025-47290 2021-29136 2014-9356", []string{"TestHostileLayers", "internal/image/unpack TestHostile", "internal/image/unpack FuzzLayer", "internal/kernel/rootfd TestLinksStayInside"}, ""},
		{"2026-47262", []string{"TestBombs", "TestHostileArchives", "internal/image TestImportLimits", "internal/image/unpack TestImpliedDirectories", "internal/image/unpack TestReplacedDirectories"}, ""},
		{"GHSA-5j5w-g665-5m35", []string{"TestHostileArchives", "TestHostileDirectory", "internal/image FuzzManifest", "internal/image FuzzImport", "internal/image FuzzReference"}, ""},
		{"2020-15157", []string{"internal/image TestRedirectsLoseCredentials", "internal/image TestPasswordFromSettings"}, ""},
		// The node agent.
		{"2017-1002101 2021-25741", []string{"TestRaceOfSubPaths", "internal/kubelet/volume TestSubPathStaysInside"}, ""},
		{"2024-10220 2025-1767", []string{"internal/kubelet/volume TestNoGitRepo"}, ""},
		{"2025-0426 2020-8551 2020-8557", []string{"test/e2e/access TestAccess"}, ""},
		{"2018-15664 2019-10152 2018-1002100", nil, "tar runs in the container, and kubectl unpacks it; skiff copies nothing itself"},
	}
}

// TestEveryAttackHasItsTest checks the table: the tests that it names are there,
// and docs/threats.md tells of every row, and of no number beside them.
func TestEveryAttackHasItsTest(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs/threats.md"))
	if err != nil {
		t.Fatal(err)
	}
	doc, _, ok := strings.Cut(string(text), "\n## The API server\n")
	if !ok {
		t.Fatal("docs/threats.md has no chapter about the API server behind those of this layer")
	}
	var listed []string
	for _, a := range attacks() {
		if (len(a.tests) > 0) == (a.why != "") {
			t.Errorf("%s: needs tests, or a reason why there are none", a.numbers)
		}
		for number := range strings.FieldsSeq(a.numbers) {
			listed = append(listed, number)
			if !strings.Contains(doc, number) {
				t.Errorf("docs/threats.md does not tell of %s", number)
			}
		}
		for _, name := range a.tests {
			dir, test, ok := strings.Cut(name, " ")
			if !ok {
				dir, test = "test/security", name
			}
			if !declares(t, filepath.Join(root, dir), test) {
				t.Errorf("%s: there is no %s in %s", a.numbers, test, dir)
			}
			if !strings.Contains(doc, "`"+test+"`") {
				t.Errorf("docs/threats.md does not name %s for %s", test, a.numbers)
			}
		}
	}
	for _, number := range regexp.MustCompile(`\b20[12]\d-\d{3,7}\b`).FindAllString(doc, -1) {
		if !slices.Contains(listed, number) {
			t.Errorf("docs/threats.md tells of %s, which the table does not list", number)
		}
	}
}

func declares(t *testing.T, dir, test string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), "\nfunc "+test+"(") {
			return true
		}
	}
	return false
}
