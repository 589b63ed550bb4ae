package image

import (
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// baseVariants are what an architecture means without a variant (OCI image
// spec, "Image index", platform variants).
var baseVariants = map[string]string{"amd64": "v1", "arm64": "v8", "arm": "v7"}

func variant(p ocispec.Platform) string {
	if p.Variant == "" {
		return baseVariants[p.Architecture]
	}
	return p.Variant
}

// matches says whether a program for have runs on want: variants grow.
func matches(want, have ocispec.Platform) bool {
	return have.OS == want.OS && have.Architecture == want.Architecture && variant(have) <= variant(want)
}

func checkPlatform(what string, have, want ocispec.Platform) error {
	if matches(want, have) {
		return nil
	}
	return fmt.Errorf("%w: %s is for %s, this node is %s; get the %s variant (docker pull --platform %s)",
		ErrPlatform, what, platformName(have), platformName(want), platformName(want), platformName(want))
}

func platformName(p ocispec.Platform) string {
	if p.OS == "" && p.Architecture == "" {
		return "an unnamed platform"
	}
	name := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		name += "/" + p.Variant
	}
	return name
}
