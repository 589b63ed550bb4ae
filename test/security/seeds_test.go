package security

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the hostile corpus into the fuzz targets' seeds")

// maxSeed keeps what is only large out of the repository.
const maxSeed = 32 << 10

// TestSeeds: what is hostile here is what the fuzz targets begin with.
func TestSeeds(t *testing.T) {
	c := &canary{t: t, dir: "/tmp/canary"}
	seeds := map[string]map[string][]byte{"unpack/testdata/fuzz/FuzzLayer": {}, "testdata/fuzz/FuzzImport": {}}
	for _, h := range hostileLayers(t, c) {
		seeds["unpack/testdata/fuzz/FuzzLayer"][h.name] = h.layer
	}
	for _, h := range hostileArchives(t, c) {
		seeds["testdata/fuzz/FuzzImport"][h.name] = h.data
	}
	unfit := regexp.MustCompile(`[^a-z0-9]+`)
	for dir, list := range seeds {
		dir = filepath.Join("../../internal/image", dir)
		for name, data := range list {
			if len(data) > maxSeed {
				continue
			}
			file := filepath.Join(dir, unfit.ReplaceAllString(strings.ToLower(name), "-"))
			if *update {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, fmt.Appendf(nil, "go test fuzz v1\n[]byte(%q)\n", data), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%v; go test ./test/security -run TestSeeds -update writes it", err)
			}
		}
	}
}
