package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/namespace"
	"go.skiff.dev/skiff/internal/kernel/pidfd"
	"go.skiff.dev/skiff/internal/oci"
)

const (
	// runtimeTime bounds one operation of the runtime. It is long: a node under
	// load is slow, and a half-made container is worse than a late one.
	runtimeTime = 2 * time.Minute
	// killTime is how long a container may take to end after SIGKILL.
	killTime = 30 * time.Second
)

func runtimeContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), runtimeTime)
}

// validID is what may become a file name: letters and digits, and "_", "." and "-" behind the first character.
func validID(id string) bool {
	for i, r := range id {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("_.-", r)) {
			return false
		}
	}
	return id != "" && len(id) <= 200
}

// create makes a container; whatever was made is undone when a step fails.
func (s *server) create(m *createMessage) (_ *entry, err error) {
	if m == nil || !validID(m.ID) {
		return nil, errors.New("create needs a container id of letters, digits, '_', '.' and '-'")
	}
	spec := &specs.Spec{}
	if err := json.Unmarshal(m.Spec, spec); err != nil {
		return nil, fmt.Errorf("reading the specification of container %q: %w", m.ID, err)
	}
	if spec.Process == nil {
		return nil, fmt.Errorf("the specification of container %q has no process", m.ID)
	}
	s.tidy.share(spec)
	defer s.tidy.later()
	e, err := s.reserve(m, spec)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	defer func() {
		if err != nil {
			s.undoCreate(e, killTime)
		}
	}()
	files, err := e.openStreams(s, m, spec)
	// These are the container's ends; it has its own copies.
	defer closeFiles(files[:])
	if err != nil {
		return nil, err
	}
	run := s.runCreate
	if m.Runtime != "" {
		run = s.createForeign
	}
	if err := run(e, m, spec, files); err != nil {
		return nil, err
	}
	s.keepConsole(e)
	if m.Start {
		if err := s.startLocked(e); err != nil {
			return nil, err
		}
	} else {
		if err := s.records.save(&e.rec); err != nil {
			return nil, err
		}
		e.slim(s)
		s.publish(e)
	}
	if err := s.watchExit(e); err != nil {
		return nil, err
	}
	return e, nil
}

// reserve takes the id, invisible until publish.
func (s *server) reserve(m *createMessage, spec *specs.Spec) (*entry, error) {
	e := &entry{child: true, exited: make(chan struct{})}
	e.rec = record{
		Container: Container{ID: m.ID, Phase: PhaseCreated, Labels: m.Labels, CreatedAt: time.Now()},
		BootID:    s.bootID, Log: m.Log, Terminal: spec.Process.Terminal, StdinOnce: m.StdinOnce,
		SharedPID: !ownPID(m, spec), Runtime: m.Runtime,
	}
	if spec.Linux != nil {
		e.rec.CgroupPath = spec.Linux.CgroupsPath
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[m.ID] != nil {
		return nil, fmt.Errorf("container %q: %w", m.ID, ErrExists)
	}
	s.entries[m.ID] = e
	return e, nil
}

// ownPID tells whether the kernel ends all of the container with its init.
func ownPID(m *createMessage, spec *specs.Spec) bool {
	if _, joined := m.Join[specs.PIDNamespace]; joined || spec.Linux == nil {
		return false
	}
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type == specs.PIDNamespace {
			return ns.Path == ""
		}
	}
	return false
}

func (s *server) runCreate(e *entry, m *createMessage, spec *specs.Spec, files [3]*os.File) error {
	join, err := s.openNamespaces(m.Join)
	defer func() {
		for _, f := range join {
			f.Close()
		}
	}()
	if err != nil {
		return err
	}
	o := oci.CreateOptions{
		ID: m.ID, StateDir: s.ociDir, Bundle: m.Bundle, Spec: spec, RawSpec: bytes.Clone(m.Spec),
		Stdio: files, Join: join, Exe: s.exe, Run: m.Start,
		Warn: s.warn,
	}
	if m.Rootfs != nil {
		o.Rootfs = &oci.Overlay{Lower: m.Rootfs.Lower, Upper: m.Rootfs.Upper, Work: m.Rootfs.Work, ReadOnly: m.Rootfs.ReadOnly, Volatile: true}
	}
	for _, i := range m.Images {
		o.Images = append(o.Images, oci.ImageMount(i))
	}
	ctx, cancel := runtimeContext()
	defer cancel()
	made, err := oci.Create(ctx, o)
	if err != nil {
		return err
	}
	e.runc = made
	e.rec.PID, e.rec.StartTicks, e.pidfd = made.Init.PID, made.StartTicks(), made.Init.PIDFD
	return e.takeConsole(s, made.Init.Console)
}

// openNamespaces opens the namespaces of other containers' inits. A namespace
// opened while the process still lives afterwards was that process's.
func (s *server) openNamespaces(join map[specs.LinuxNamespaceType]string) (map[specs.LinuxNamespaceType]*os.File, error) {
	files := map[specs.LinuxNamespaceType]*os.File{}
	for kind, id := range join {
		e, err := s.find(id)
		if err != nil {
			return files, fmt.Errorf("joining a namespace: %w", err)
		}
		e.mu.RLock()
		f, err := e.openNamespace(kind)
		e.mu.RUnlock()
		if err != nil {
			return files, err
		}
		files[kind] = f
	}
	return files, nil
}

// alive tells whether init has not ended: then its pid was its own until now. One
// that has ended before this supervisor began, or is deleted, has no pidfd.
func (e *entry) alive() bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.rec.Phase != PhaseExited && e.pidfd != nil && pidfd.Alive(e.pidfd)
}

func (e *entry) openNamespace(kind specs.LinuxNamespaceType) (*os.File, error) {
	if e.rec.Phase == PhaseExited {
		return nil, fmt.Errorf("joining the %s namespace: %w", kind, stateError(e.rec.ID, PhaseExited, "running"))
	}
	f, err := os.Open(namespace.Path(e.rec.PID, string(kind)))
	if err != nil {
		return nil, fmt.Errorf("joining the %s namespace of container %q: %w", kind, e.rec.ID, err)
	}
	if !pidfd.Alive(e.pidfd) {
		f.Close()
		return nil, fmt.Errorf("joining the %s namespace: %w", kind, stateError(e.rec.ID, PhaseExited, "running"))
	}
	return f, nil
}

// undoCreate removes what a failed create left. What does not end soon (a process in uninterruptible sleep) is removed
// when it does; its id stays taken so long. The caller holds e.mu.
func (s *server) undoCreate(e *entry, patience time.Duration) {
	s.unpublish(e)
	ended := s.endHalfMade(e)
	select {
	case <-ended:
		s.removeHalfMade(e)
		return
	case <-time.After(patience):
	}
	s.log.Warn("half-made container does not end after SIGKILL (a process in uninterruptible sleep?)", "container", e.rec.ID)
	go func() {
		<-ended
		e.mu.Lock()
		defer e.mu.Unlock()
		s.removeHalfMade(e)
	}()
}

// endHalfMade kills what was begun and closes the channel when init is reaped.
func (s *server) endHalfMade(e *entry) <-chan struct{} {
	ended := make(chan struct{})
	if e.runc == nil {
		close(ended)
		return ended
	}
	init := e.pidfd
	if own, ok := e.runc.(*oci.Container); ok && init == nil {
		init = own.Init.PIDFD
	}
	_ = e.runc.Kill(unix.SIGKILL, true)
	go func() {
		defer close(ended)
		if init != nil {
			_, _ = pidfd.Wait(init)
		}
	}()
	return ended
}

func (s *server) removeHalfMade(e *entry) {
	if e.runc != nil {
		if err := e.runc.Delete(true); err != nil && !errors.Is(err, oci.ErrNotFound) {
			s.log.Warn("half-made container not removed", "container", e.rec.ID, "err", err)
		}
		e.runc = nil
	}
	s.closeStreams(e)
	_ = s.records.remove(e.rec.ID)
	s.forget(e)
}
