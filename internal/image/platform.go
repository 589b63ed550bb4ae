package image

import (
	"fmt"
	"runtime"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/cpu"
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

// hostPlatform is this machine. Programs for a later variant of amd64 need what
// its psABI lists; what x/sys/cpu does not know (F16C, LZCNT, MOVBE) every
// processor with the rest of v3 has.
func hostPlatform() ocispec.Platform {
	p := ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
	if p.Architecture != "amd64" {
		return p
	}
	x := &cpu.X86
	for _, level := range []struct {
		variant string
		has     bool
	}{
		{"v2", x.HasCX16 && x.HasPOPCNT && x.HasSSE3 && x.HasSSE41 && x.HasSSE42 && x.HasSSSE3},
		{"v3", x.HasAVX && x.HasAVX2 && x.HasBMI1 && x.HasBMI2 && x.HasFMA && x.HasOSXSAVE},
		{"v4", x.HasAVX512F && x.HasAVX512BW && x.HasAVX512CD && x.HasAVX512DQ && x.HasAVX512VL},
	} {
		if !level.has {
			break
		}
		p.Variant = level.variant
	}
	return p
}

// matches says whether a program for have runs on want: variants grow.
func matches(want, have ocispec.Platform) bool {
	return have.OS == want.OS && have.Architecture == want.Architecture && variant(have) <= variant(want)
}

// unnamed says that nothing is said: tools that put images together from files (crane append, go-containerregistry) leave
// the fields empty, and such an image runs everywhere else.
func unnamed(p ocispec.Platform) bool { return p.OS == "" && p.Architecture == "" }

// wanted is what an image has to be for: this node, or what was asked for.
type wanted struct {
	ocispec.Platform
	asked bool
}

// wanted is the platform that was asked for, if one was.
func (s *Store) wanted(asked ocispec.Platform) wanted {
	if asked.OS == "" {
		return wanted{Platform: s.opts.Platform}
	}
	return wanted{asked, true}
}

func checkPlatform(what string, have ocispec.Platform, want wanted) error {
	if matches(want.Platform, have) || unnamed(have) {
		return nil
	}
	if want.asked {
		return fmt.Errorf("%w: %s is for %s, asked for is %s", ErrPlatform, what, platformName(have), platformName(want.Platform))
	}
	// The variant of this machine is the best that it can run; hardly any image has just that.
	base := platformName(ocispec.Platform{OS: want.OS, Architecture: want.Architecture})
	return fmt.Errorf("%w: %s is for %s, this node is %s; get the image for %s (docker pull --platform %s)",
		ErrPlatform, what, platformName(have), platformName(want.Platform), base, base)
}

func platformName(p ocispec.Platform) string {
	if unnamed(p) {
		return "an unnamed platform"
	}
	name := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		name += "/" + p.Variant
	}
	return name
}
