// Package version says what this skiff is and which Kubernetes it speaks.
package version

import (
	"runtime"
	"runtime/debug"
)

const (
	// Kubernetes is the release whose API skiff serves; the libraries in go.mod
	// are of the same minor.
	Kubernetes = "v1.36.3"
	// Major and Minor are its parts, as /version reports them.
	Major, Minor = "1", "36"
	// Skiff is skiff's own release.
	Skiff = "0.1.0"
	// Git is the version that nodes and the API server report: Kubernetes'
	// version with skiff's as build metadata (semver.org, item 10).
	Git = Kubernetes + "+skiff." + Skiff
)

// Info is what `skiff version -o json` prints.
type Info struct {
	Skiff      string `json:"skiff"`
	Kubernetes string `json:"kubernetes"`
	Commit     string `json:"commit,omitempty"`
	Go         string `json:"go"`
	Platform   string `json:"platform"`
}

// Get describes the running binary.
func Get() Info {
	info := Info{Skiff: Skiff, Kubernetes: Kubernetes, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, s := range build.Settings {
			if s.Key == "vcs.revision" {
				info.Commit = s.Value
			}
		}
	}
	return info
}
