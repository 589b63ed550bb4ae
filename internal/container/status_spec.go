package container

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"go.skiff.dev/skiff/internal/kernel/namespace"
)

// The verbose status shows the runtime specification under the name that it
// has with containerd and CRI-O ("runtimeSpec"), with the paths of namespaces,
// which people and scripts take from there for nsenter.

// containerSpec is what a container was or will be started with; nil where the
// image or the sandbox is gone.
func (s *Service) containerSpec(rec *containerRecord) *specs.Spec {
	b, err := s.findSandbox(rec.SandboxID)
	if err != nil {
		return nil
	}
	img, err := s.deps.Images.Resolve(rec.ImageID)
	if err != nil {
		return nil
	}
	owner := b.rec.Load()
	spec, err := buildSpec(s.specInput(rec, owner, img))
	if err != nil {
		return nil
	}
	from := joins(rec, owner)
	for i, ns := range spec.Linux.Namespaces {
		switch id := from[ns.Type]; {
		case id == "":
		case id == owner.ID && owner.Ready:
			spec.Linux.Namespaces[i].Path = namespace.Path(owner.PID, string(ns.Type))
		case id != owner.ID:
			if target, err := s.findContainer(id); err == nil {
				spec.Linux.Namespaces[i].Path = namespace.Path(target.rec.Load().PID, string(ns.Type))
			}
		}
	}
	return spec
}

// sandboxSpec is what pause was started with. Its namespaces are new ones; the
// paths are where they are now.
func (s *Service) sandboxSpec(rec *sandboxRecord) *specs.Spec {
	spec := s.pauseRequest(rec).Spec
	for i, ns := range spec.Linux.Namespaces {
		if rec.Ready {
			spec.Linux.Namespaces[i].Path = namespace.Path(rec.PID, string(ns.Type))
		}
	}
	return spec
}
