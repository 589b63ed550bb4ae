package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// sendListener hands the seccomp notification descriptor to the agent at linux.seccomp.listenerPath, with the
// container process state that runtime-spec defines (config-linux, "The container process state").
func (c *Container) sendListener(f *os.File, pid int, st specs.ContainerState) error {
	if f == nil {
		return errors.New("seccomp listener: no descriptor came")
	}
	defer f.Close()
	s, err := c.Spec()
	if err != nil {
		return err
	}
	sec := s.Linux.Seccomp
	msg, err := json.Marshal(specs.ContainerProcessState{
		Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: pid, Metadata: sec.ListenerMetadata,
		State: c.specState(st),
	})
	if err != nil {
		return err
	}
	if err := HandOver(sec.ListenerPath, msg, f); err != nil {
		// runc's words, which callers look for
		return fmt.Errorf("linux.seccomp.listenerPath: failed to connect with seccomp agent: %w", err)
	}
	return nil
}
