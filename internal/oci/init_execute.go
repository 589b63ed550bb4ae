package oci

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// findProgram looks for the program while the container is made, so that a wrong name fails there and not at start.
// It looks as root: what only the process's own user may not see or execute, execve will tell.
func (s *initState) findProgram() error {
	p := &s.process
	if len(p.args) == 0 {
		return nil // a container without a process (process is optional before start)
	}
	file, err := lookPath(p.args[0], p.env, p.cwd) // nobody has gone to the working directory yet
	if err != nil {
		return err
	}
	if !path.IsAbs(file) {
		file = path.Join(p.cwd, file)
	}
	var st unix.Stat_t
	switch err := unix.Stat(file, &st); {
	case err == unix.ENOENT || err == unix.ENOTDIR:
		return fmt.Errorf("exec: %q: stat %s: %w", p.args[0], file, err)
	case err != nil:
		return nil
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		// Engines tell "cannot be invoked" by one of these or the other.
		return fmt.Errorf("exec: %q: is a directory: %w", p.args[0], unix.EACCES)
	}
	if st.Mode&0o111 == 0 {
		return fmt.Errorf("exec: %q: %w", p.args[0], unix.EACCES)
	}
	return nil
}

func (s *initState) execute() error {
	p := &s.process
	if len(p.args) == 0 {
		return errors.New("process: nothing to execute")
	}
	file, err := lookPath(p.args[0], p.env, "")
	if err != nil {
		return err
	}
	err = syscall.Exec(file, p.args, p.env)
	return ExecveError("exec " + p.args[0] + ": " + err.Error()) // as runc has it, which callers look for
}

// lookPath finds the program as execvp does, with the PATH of the container; what is relative in it is taken from cwd,
// or from where the process is.
func lookPath(name string, env []string, cwd string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	search := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			search = v
		}
	}
	var denied error
	for dir := range strings.SplitSeq(search, ":") {
		if dir == "" {
			dir = "."
		}
		full := path.Join(dir, name)
		if !path.IsAbs(full) {
			full = path.Join(cwd, full)
		}
		var st unix.Stat_t
		if unix.Stat(full, &st) != nil || st.Mode&unix.S_IFMT == unix.S_IFDIR {
			continue
		}
		if unix.Access(full, unix.X_OK) == nil {
			return full, nil
		}
		denied = unix.EACCES
	}
	if denied != nil {
		return "", fmt.Errorf("exec %q: %w", name, denied)
	}
	return "", fmt.Errorf("exec: %q: executable file not found in $PATH", name)
}
