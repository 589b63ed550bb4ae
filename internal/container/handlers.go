package container

import (
	"maps"
	"os"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A sandbox's handler says what makes its containers: skiff itself ("" and
// "skiff"), or the program of another OCI runtime that the configuration names.
// Pause is skiff's in either case; the other runtime joins its namespaces.

// handlers lists what RunPodSandbox takes, with what each can do.
func (s *Service) handlers() []*runtimeapi.RuntimeHandler {
	var out []*runtimeapi.RuntimeHandler
	for _, name := range []string{"", runtimeHandler} {
		out = append(out, &runtimeapi.RuntimeHandler{
			Name: name, Features: &runtimeapi.RuntimeHandlerFeatures{RecursiveReadOnlyMounts: true, UserNamespaces: true},
		})
	}
	for _, name := range slices.Sorted(maps.Keys(s.deps.Handlers)) {
		out = append(out, &runtimeapi.RuntimeHandler{Name: name, Features: &runtimeapi.RuntimeHandlerFeatures{}})
	}
	return out
}

func (s *Service) knowHandler(name string) error {
	if name == "" || name == runtimeHandler || s.deps.Handlers[name] != "" {
		return nil
	}
	known := append([]string{runtimeHandler}, slices.Sorted(maps.Keys(s.deps.Handlers))...)
	return invalid("no runtime for %q is configured; known: %q", name, known)
}

// checkHandler refuses what the handler of a sandbox cannot do.
func (s *Service) checkHandler(config *runtimeapi.PodSandboxConfig, name string) error {
	if err := s.knowHandler(name); err != nil {
		return err
	}
	path := s.deps.Handlers[name]
	if path == "" {
		return nil
	}
	if usersOf(config) != nil {
		return invalid("runtime handler %q: user namespaces are possible only with the handler %q", name, runtimeHandler)
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return status.Errorf(codes.FailedPrecondition, "runtime handler %q: %s is no program that can be executed", name, path)
	}
	return nil
}
