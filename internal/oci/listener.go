package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// dialAgent connects to the seccomp agent where the container has one. That comes before init goes on, which waits for
// nobody from there on: without an agent nothing of the container is executed.
func (c *Container) dialAgent() (*os.File, error) {
	if c.rec.Listener == "" {
		return nil, nil
	}
	agent, err := dial(c.rec.Listener)
	if err != nil {
		// runc's words, which callers look for
		return nil, fmt.Errorf("linux.seccomp.listenerPath: failed to connect with seccomp agent: %w", err)
	}
	return agent, nil
}

// sendListener hands the seccomp notification descriptor to the agent at linux.seccomp.listenerPath, with the
// container process state that runtime-spec defines (config-linux, "The container process state").
func (c *Container) sendListener(agent, f *os.File, pid int, st specs.ContainerState) error {
	if f == nil || agent == nil {
		return errors.New("seccomp listener: no descriptor came, or nobody waits for it")
	}
	defer f.Close()
	s, err := c.Spec()
	if err != nil {
		return err
	}
	msg, err := json.Marshal(specs.ContainerProcessState{
		Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: pid, Metadata: s.Linux.Seccomp.ListenerMetadata,
		State: c.specState(st),
	})
	if err != nil {
		return err
	}
	if err := pass(agent, msg, f); err != nil {
		return fmt.Errorf("linux.seccomp.listenerPath: %w", err)
	}
	return nil
}
