// Package container is the container layer of the node: the Kubernetes
// Container Runtime Interface (CRI v1) over the supervisor, the image store and
// the pod network. The kubelet calls it in process; the same Service can be
// registered on a gRPC server.
//
// A sandbox is a pause process in new net, ipc, uts (and, when shared, pid)
// namespaces, in the pod's cgroup, attached to the network. A container is a
// process in those namespaces and its own mnt, cgroup and pid namespaces, on an
// overlay of its image's layers. The state of both lives on disk in one
// directory each, written atomically; what runs is known by the supervisor.
//
// Order of a sandbox's birth (each step undone when a later one fails):
//
//	record -> resolv.conf -> supervisor creates and starts pause -> network -> record ready
//
// and of a container's:
//
//	image leased -> record, upper and work directories -> [start] spec -> supervisor creates and starts -> record
package container
