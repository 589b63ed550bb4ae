package container

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/supervisor"
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
		a := s.askRuntime(s.deps.Handlers[name])
		users := false
		select {
		case <-a.answered:
			users = a.err == nil
		default: // it is thinking; who asks again is told
		}
		out = append(out, &runtimeapi.RuntimeHandler{Name: name, Features: &runtimeapi.RuntimeHandlerFeatures{UserNamespaces: users}})
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

// idMapping is what a runtime says about user namespaces.
type idMapping struct {
	program  string // in the form of this moment: another release may say something else
	answered chan struct{}
	err      error
}

// askRuntime asks a runtime, once for each form that its program has, behind the one who wants to know.
func (s *Service) askRuntime(path string) *idMapping {
	form := ""
	if info, err := os.Stat(path); err == nil {
		form = fmt.Sprint(info.Size(), info.ModTime().UnixNano(), info.Sys().(*syscall.Stat_t).Ino)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.idMappings[path]
	if a != nil && a.program == form {
		return a
	}
	a = &idMapping{program: form, answered: make(chan struct{})}
	s.idMappings[path] = a
	go func() {
		defer close(a.answered)
		if a.err = supervisor.MapsIDs(context.Background(), path); errors.Is(a.err, context.DeadlineExceeded) {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.idMappings, path) // the node may have been busy
		}
	}()
	return a
}

// checkUsersOf refuses a user namespace to a runtime that does not say that it can do one.
func (s *Service) checkUsersOf(ctx context.Context, name, path string) error {
	a := s.askRuntime(path)
	select {
	case <-a.answered:
	case <-ctx.Done():
		return ctx.Err()
	}
	if a.err != nil {
		return invalid("runtime handler %q cannot make a pod with a user namespace: %v", name, a.err)
	}
	return nil
}

// checkHandler refuses what the handler of a sandbox cannot do.
func (s *Service) checkHandler(ctx context.Context, config *runtimeapi.PodSandboxConfig, name string) error {
	if err := s.knowHandler(name); err != nil {
		return err
	}
	path := s.deps.Handlers[name]
	if path == "" {
		return nil
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return status.Errorf(codes.FailedPrecondition, "runtime handler %q: %s is no program that can be executed", name, path)
	}
	if usersOf(config) != nil {
		return s.checkUsersOf(ctx, name, path)
	}
	return nil
}
