// Package supervisor is the node's one parent process of all containers, and
// the client through which skiff talks to it.
//
// The supervisor (Main, a role of the skiff-oci program) clones every
// container's init, reaps it, and keeps its exit code on disk until the owner
// acknowledges it by Delete. It owns the pipes and terminals of the containers
// and writes their logs, so that skiff may die, hang, be upgraded or stand in a
// debugger without any effect on a container, its log or its exit code. It
// holds no policy: what is to run, when it is stopped and how often it is
// restarted is decided by its client.
//
// # Protocol
//
// One unix stream socket (0600; the peer must be root or the supervisor's own
// user, SO_PEERCRED), one connection per request. A frame is a 4-byte
// big-endian length and a JSON body; file descriptors travel with the first
// byte of a frame (SCM_RIGHTS). The bytes of exec and attach streams never pass
// through frames: the client sends, or is given, the descriptors themselves.
//
//	client                                supervisor
//	request{op,...}  [fds]        ->
//	                              <-      response{error | result}  [fds]
//	                              <-      more frames (exec: exit; events: states)
//
// A request on an open connection ends when the connection does: an exec asked
// for with KillOnClose is killed, an event stream is dropped.
//
// # A worked example
//
//	c, err := supervisor.Connect(ctx, supervisor.Options{Dir: "/run/skiff/supervisor", Socket: sock, Exe: ocibin.Open})
//	state, err := c.Create(ctx, supervisor.CreateRequest{ID: "web", Spec: spec, Start: true})
//	exit, err := c.Wait(ctx, "web")
//	err = c.Delete(ctx, "web", false) // acknowledges the exit code
//
// # Recovery
//
// If the supervisor is killed, containers go on. The next one finds them by
// their records (pid, start time, boot id) and watches them through pidfds.
// Their exit codes are read from the pidfd where the kernel keeps them (Linux
// 6.15, PIDFD_INFO_EXIT); otherwise an exit that nobody saw is reported with
// Exit.Unknown and code 255, never as success. On Upgrade the supervisor
// executes its successor in place: children, pipes and terminals stay.
package supervisor
