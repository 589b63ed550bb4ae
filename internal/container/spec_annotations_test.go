package container

import (
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestAnnotationsStayOut of what a runtime gets: one of them could be a property of the container's unit (CVE-2024-3154).
func TestAnnotationsStayOut(t *testing.T) {
	bad := map[string]string{"org.systemd.property.ExecStopPost": "'/bin/sh'", "run.oci.handler": "krun"}
	in := specInput{
		rec: &containerRecord{Config: &runtimeapi.ContainerConfig{Command: []string{"true"}, Annotations: bad, Labels: bad,
			Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{}}}},
		sandbox: &sandboxRecord{Config: &runtimeapi.PodSandboxConfig{Annotations: bad, Labels: bad}},
		image:   ocispec.ImageConfig{Labels: bad},
	}
	spec, err := buildSpec(in)
	if err != nil {
		t.Fatal(err)
	}
	if len(spec.Annotations) > 0 {
		t.Errorf("the runtime gets %v", spec.Annotations)
	}
	pod := sandboxRecord{Config: in.sandbox.Config}
	if got := (&Service{}).pauseRequest(&pod).Spec.Annotations; len(got) > 0 {
		t.Errorf("pause gets %v", got)
	}
}
