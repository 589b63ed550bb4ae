// Package plan is what the host tells a virtual machine to do, and the form in
// which the machine tells how it went. The host writes the plan as JSON into
// the initramfs; the guest reports over its second serial line, on which
// nothing but the report is written.
package plan

import "time"

// Paths inside the initramfs, and on the disk afterwards.
const (
	File    = "/plan.json"
	Modules = "/modules"
)

// Guest is the guest's program on the disk.
const Guest = "/sbin/init"

// Work is its argument that has it run the steps.
const Work = "work"

// Plan is the life of one virtual machine.
type Plan struct {
	// Modules are loaded before the disk is mounted, in this order; each names
	// a file below Modules.
	Modules []string
	// Hybrid has the controllers on version 1 of cgroups, beside an empty
	// version 2, as systemd does by its "hybrid" mode.
	Hybrid bool `json:",omitempty"`
	// Systemd says that Debian's systemd is process 1. The guest is then a
	// service of its, see Service.
	Systemd bool `json:",omitempty"`
	// Steps are run one after another, whatever became of those before.
	Steps []Step
}

// Step is one command in the machine.
type Step struct {
	Name string
	Dir  string
	Args []string
	Env  []string
	// Modules are loaded before the command runs, in this order.
	Modules []string
	// Limit ends a step that takes longer.
	Limit time.Duration
	// Test says that the command is a Go test binary, whose output is told
	// test by test.
	Test bool
}

// Mark begins the lines of the report that are the guest's own. A line is the
// mark, one JSON Event, and a newline; it may follow output of a step that did
// not end its last line.
const Mark = "\x1eskiff-vm "

// Event is one line of the report.
type Event struct {
	// Begin or End is the name of a step; Note is a remark about the machine.
	Begin, End, Note string `json:",omitempty"`
	// Code and Took are the exit code and the duration of a step that ended.
	Code int           `json:",omitempty"`
	Took time.Duration `json:",omitempty"`
	// Done says that the guest went through the whole plan.
	Done bool `json:",omitempty"`
}
