// Package oci is skiff's OCI runtime: a runtime-spec 1.3 configuration goes in, a process tree comes out.
//
// The life of a container, as the specification names it:
//
//	c, err := oci.Create(ctx, oci.CreateOptions{ID: "web", StateDir: dir, Spec: spec, Exe: exe})
//	err = c.Start(ctx)                  // the image's process replaces init
//	p, err := c.Exec(ctx, oci.ExecOptions{Spec: &specs.Process{...}})
//	err = c.Kill(unix.SIGTERM, false)
//	err = c.Delete(false)               // cgroup, state directory: gone
//
// Create clones init (this same program, role "init") as a child of the calling process and returns when init has
// prepared everything and waits for Start. The caller is the parent: it reaps init and every exec'd process, with
// Process.Wait or by itself with waitid(P_PIDFD). The package never waits for a foreign child.
//
// The same package is used by the OCI command line (cmd/skiff-oci), which forgets everything between two calls and
// finds a container again with Load, and by the supervisor, which keeps the *Container.
package oci

import (
	"errors"
)

// Errors on which callers branch.
var (
	ErrNotFound   = errors.New("container does not exist")
	ErrExists     = errors.New("container already exists")
	ErrNotRunning = errors.New("container is not running")
	ErrNotCreated = errors.New("container is not in created state")
	ErrNotStopped = errors.New("container is not stopped")
)

// InitError is what went wrong in the container's own init, whose steps name themselves: "mounting: ...".
type InitError string

func (e InitError) Error() string { return string(e) }

// ExecveError says that all was prepared and the kernel did not take the program. Its text is what a shell would say.
type ExecveError string

func (e ExecveError) Error() string { return string(e) }
