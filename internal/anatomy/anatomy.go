// Package anatomy reads a live pod back out of the kernel and draws it: which
// namespaces the pod's pause process holds and which belong to each container
// (by inode), the process trees, the cgroups with their limits and usage, and
// both ends of the pod's link. Nothing in the picture is remembered or guessed:
// only the process ids, cgroup paths and the host's link name are given, all
// else is what the kernel says at this moment.
package anatomy

import (
	"fmt"
	"slices"
)

// Subject says where to look.
type Subject struct {
	Namespace, Name, UID string
	// Pause is the pid of the pod's pause process.
	Pause int
	// CgroupPath is the pod's cgroup, from the hierarchy's root.
	CgroupPath string
	// HostInterface is the host's end of the pod's link; empty on the host's network.
	HostInterface string
	Containers    []Container
}

// Container says where one container is. PID is 0 where it does not run.
type Container struct {
	Name, ID, State string
	PID             int
	CgroupPath      string
}

// Pod is the picture.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	Hostname  string `json:"hostname"`
	// Namespaces are those that the pod's pause process holds and all
	// containers share, by kind (net, ipc, uts, and pid if it is shared).
	Namespaces map[string]Namespace `json:"namespaces"`
	Cgroup     Cgroup               `json:"cgroup"`
	Network    Network              `json:"network"`
	Pause      Part                 `json:"pause"`
	Containers []Part               `json:"containers"`
}

// Part is the pause process or a container.
type Part struct {
	Name  string `json:"name"`
	ID    string `json:"id,omitempty"`
	State string `json:"state"`
	PID   int    `json:"pid,omitempty"`
	// Namespaces are the part's own, by kind (pid, mnt, cgroup).
	Namespaces map[string]Namespace `json:"namespaces,omitempty"`
	Cgroup     Cgroup               `json:"cgroup,omitzero"`
	// Processes is the process tree, parents before children.
	Processes []Process `json:"processes,omitempty"`
}

// Namespace is one kernel namespace.
type Namespace struct {
	Inode uint64 `json:"inode"`
	// HeldBy names whose process keeps it alive.
	HeldBy string `json:"heldBy"`
	// Host tells that it is the host's own.
	Host bool `json:"host,omitempty"`
}

// podKinds are the kinds that the containers of a pod share, ownKinds those
// that each has for itself. The pid namespace is in both lists: a pod may
// share it (spec.shareProcessNamespace).
func podKinds() []string { return []string{"net", "ipc", "uts"} }
func ownKinds() []string { return []string{"pid", "mnt", "cgroup", "user"} }

// Read draws the pod.
func Read(s Subject) (Pod, error) {
	p := Pod{Namespace: s.Namespace, Name: s.Name, UID: s.UID, Namespaces: map[string]Namespace{}}
	if s.Pause == 0 {
		return p, fmt.Errorf("pod %s/%s has no pause process: it does not run", s.Namespace, s.Name)
	}
	host := inodesOf(self)
	pause := inodesOf(s.Pause)
	if len(pause) == 0 {
		return p, fmt.Errorf("pod %s/%s: its pause process %d is gone", s.Namespace, s.Name, s.Pause)
	}
	for _, kind := range podKinds() {
		p.Namespaces[kind] = Namespace{Inode: pause[kind], HeldBy: "pause", Host: pause[kind] == host[kind]}
	}
	shared := sharesPIDs(s, pause)
	if shared {
		p.Namespaces["pid"] = Namespace{Inode: pause["pid"], HeldBy: "pause", Host: pause["pid"] == host["pid"]}
	}
	var err error
	if p.Hostname, err = hostnameOf(s.Pause); err != nil {
		return p, err
	}
	p.Cgroup = readCgroup(s.CgroupPath)
	p.Network = readNetwork(s.Pause, s.HostInterface, p.Namespaces["net"].Host)
	p.Pause = Part{Name: "pause", State: "running", PID: s.Pause, Namespaces: own("pause", pause, host, p.Namespaces), Processes: tree([]int{s.Pause})}
	for _, c := range s.Containers {
		p.Containers = append(p.Containers, readContainer(c, host, p.Namespaces))
	}
	return p, nil
}

// sharesPIDs tells whether a running container lives in pause's pid namespace.
func sharesPIDs(s Subject, pause map[string]uint64) bool {
	return slices.ContainsFunc(s.Containers, func(c Container) bool {
		return c.PID != 0 && inodesOf(c.PID)["pid"] == pause["pid"]
	})
}

func readContainer(c Container, host map[string]uint64, pod map[string]Namespace) Part {
	part := Part{Name: c.Name, ID: c.ID, State: c.State, PID: c.PID}
	if c.PID == 0 {
		return part
	}
	part.Namespaces = own(c.Name, inodesOf(c.PID), host, pod)
	part.Cgroup = readCgroup(c.CgroupPath)
	part.Processes = tree(processesIn(c.CgroupPath))
	return part
}

// own lists the namespaces of a part that are not the pod's. A namespace kind
// that the pod should have given and did not is listed too, so that a picture
// never hides a fault.
func own(holder string, inodes, host map[string]uint64, pod map[string]Namespace) map[string]Namespace {
	list := map[string]Namespace{}
	for _, kind := range append(ownKinds(), podKinds()...) {
		inode := inodes[kind]
		if inode == 0 || inode == pod[kind].Inode {
			continue
		}
		ns := Namespace{Inode: inode, HeldBy: holder, Host: inode == host[kind]}
		if ns.Host {
			ns.HeldBy = "host"
		}
		list[kind] = ns
	}
	return list
}
