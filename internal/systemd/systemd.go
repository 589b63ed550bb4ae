// Package systemd asks the machine's service manager for the cgroups of containers: where systemd runs, it is the one
// writer of the upper cgroups, and gives others a unit of their own with Delegate=yes below which they may do what they
// like (systemd.io/CGROUP_DELEGATION). A container gets a scope, a unit whose processes somebody else has started:
//
//	m, err := systemd.Dial(false)                    // the machine's manager; true: the user's own
//	err = m.Start("runc-web.scope", []Property{      // returns when the processes are in the unit's cgroup
//		{"Slice", String("system.slice")}, {"PIDs", Uint32s(pid)}, {"Delegate", Bool(true)}})
//	err = m.SetProperties("runc-web.scope", ...)     // limits, while it runs
//	err = m.Stop("runc-web.scope")                   // and forget that it failed, if it did
//
// It speaks the few words of D-Bus that this takes itself (dbus.freedesktop.org/doc/dbus-specification.html):
// github.com/godbus/dbus would be paid by every container's init, which is the same small program.
package systemd

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// patience is how long systemd may take for one request; its own limit for a unit that does not stop is 90 s, but
// scopes are stopped here when nothing runs in them any more.
const patience = time.Minute

// Manager is a connection to a systemd.
type Manager struct{ c *conn }

// Property is one setting of a unit, by the name that it has on the bus (org.freedesktop.systemd1(5)).
type Property struct {
	Name  string
	Value Value
}

const (
	service   = "org.freedesktop.systemd1"
	path      = "/org/freedesktop/systemd1"
	iface     = service + ".Manager"
	unitThere = service + ".UnitExists"
	noUnit    = service + ".NoSuchUnit"
)

// Dial connects to the machine's systemd, or to that of the calling user.
func Dial(user bool) (*Manager, error) {
	c, err := dial(user)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("connecting to systemd: %w: if it does not run here, let the caller use cgroupfs (podman: --cgroup-manager=cgroupfs, containerd: SystemdCgroup = false)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("connecting to systemd: %w", err)
	}
	return &Manager{c}, nil
}

// Close ends the connection.
func (m *Manager) Close() error { return m.c.close() }

// Start makes a transient unit and waits until it is there.
func (m *Manager) Start(unit string, properties []Property) error {
	err := m.start(unit, properties)
	if e, ok := errors.AsType[*Error](err); ok && e.Name == unitThere {
		// It may be one that failed and is only remembered.
		if m.resetFailed(unit) == nil {
			err = m.start(unit, properties)
		}
	}
	if err != nil {
		return fmt.Errorf("starting unit %q: %w", unit, err)
	}
	return nil
}

func (m *Manager) start(unit string, properties []Property) error {
	return m.job("StartTransientUnit", "ssa(sv)a(sa(sv))", func(e *encoder) {
		e.text(unit)
		e.text("fail") // a job that is under way for the same unit is somebody else's
		e.properties(properties)
		e.array(8, func() {}) // no auxiliary units
	})
}

// Stop ends a unit and what is in it. It is no error if there is none: a scope ends with its last process.
func (m *Manager) Stop(unit string) error {
	err := m.job("StopUnit", "ss", func(e *encoder) {
		e.text(unit)
		e.text("replace")
	})
	if e, ok := errors.AsType[*Error](err); ok && e.Name == noUnit {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stopping unit %q: %w", unit, err)
	}
	_ = m.resetFailed(unit) // one that did not fail is gone already
	return nil
}

// SetProperties changes settings of a unit that runs, until it ends.
func (m *Manager) SetProperties(unit string, properties []Property) error {
	_, err := m.c.call(m.request("SetUnitProperties", "sba(sv)", func(e *encoder) {
		e.text(unit)
		e.bool(true) // only in memory
		e.properties(properties)
	}))
	if err != nil {
		return fmt.Errorf("setting properties of unit %q: %w", unit, err)
	}
	return nil
}

func (m *Manager) resetFailed(unit string) error {
	_, err := m.c.call(m.request("ResetFailedUnit", "s", func(e *encoder) { e.text(unit) }))
	return err
}

func (m *Manager) request(member, signature string, body func(*encoder)) message {
	msg := message{kind: kindCall, destination: service, path: path, iface: iface, member: member, signature: signature}
	var e encoder
	body(&e)
	msg.body = e.b
	return msg
}

// job asks for something that systemd answers with the name of a job, and waits for the end of that.
func (m *Manager) job(member, signature string, body func(*encoder)) error {
	reply, err := m.c.call(m.request(member, signature, body))
	if err != nil {
		return err
	}
	d := decoder{b: reply.body}
	name := d.text()
	if d.err != nil {
		return d.err
	}
	result, err := m.c.jobResult(name)
	if err == nil && result != "done" {
		err = fmt.Errorf("the job ended with %q", result)
	}
	return err
}
