package container

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/oci/defaults"
)

// maxProfile bounds a seccomp profile on the node.
const maxProfile = 4 << 20

// addSecurity sets seccomp and the labels of the security modules.
func addSecurity(spec *specs.Spec, sc *runtimeapi.LinuxContainerSecurityContext) error {
	var err error
	if spec.Linux.Seccomp, err = seccompFor(sc, spec.Process.Capabilities.Bounding); err != nil {
		return err
	}
	profile := sc.GetApparmor()
	if profile == nil && sc.GetApparmorProfile() != "" { //nolint:staticcheck // old clients still send it
		profile = oldApparmor(sc.GetApparmorProfile()) //nolint:staticcheck // see above
	}
	if profile.GetProfileType() == runtimeapi.SecurityProfile_Localhost && !sc.GetPrivileged() {
		if profile.GetLocalhostRef() == "" { // must not mean "none", as with seccomp
			return invalid("AppArmor profile of type Localhost has no name")
		}
		if _, err := os.Stat("/sys/kernel/security/apparmor"); err != nil {
			return invalid("AppArmor profile %q asked for, but AppArmor is not enabled on this node", profile.GetLocalhostRef())
		}
		spec.Process.ApparmorProfile = strings.TrimPrefix(profile.GetLocalhostRef(), "localhost/")
	}
	return nil
}

func oldApparmor(text string) *runtimeapi.SecurityProfile {
	if name, ok := strings.CutPrefix(text, "localhost/"); ok {
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: name}
	}
	return nil
}

// seccompFor is the system call filter. Who names no profile has none, as the
// CRI validation suite wants it: the node agent always names one, and its
// default is RuntimeDefault. Privileged containers have none.
func seccompFor(sc *runtimeapi.LinuxContainerSecurityContext, have []string) (*specs.LinuxSeccomp, error) {
	if sc.GetPrivileged() || sc.GetSeccomp() == nil {
		return nil, nil
	}
	switch sc.GetSeccomp().GetProfileType() {
	case runtimeapi.SecurityProfile_Unconfined:
		return nil, nil
	case runtimeapi.SecurityProfile_Localhost:
		return readProfile(sc.GetSeccomp().GetLocalhostRef())
	default:
		return defaults.Seccomp(have), nil
	}
}

// readProfile reads a profile in the JSON form that the runtime specification
// has. An empty name must not mean "none" (CVE-2023-2431).
func readProfile(name string) (*specs.LinuxSeccomp, error) {
	path := strings.TrimPrefix(name, "localhost/")
	if path == "" || !filepath.IsAbs(path) {
		return nil, invalid("seccomp profile %q is not an absolute path", name)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, invalid("loading seccomp profile %q: %v", name, err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxProfile {
		return nil, invalid("seccomp profile %q is no regular file of at most %d bytes", name, maxProfile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("loading seccomp profile %q: %w", name, err)
	}
	profile := &specs.LinuxSeccomp{}
	if err := json.Unmarshal(data, profile); err != nil {
		return nil, invalid("seccomp profile %q: %v", name, err)
	}
	if profile.DefaultAction == "" {
		return nil, invalid("seccomp profile %q has no defaultAction", name)
	}
	return profile, nil
}
