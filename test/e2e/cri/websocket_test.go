package cri

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

// webSocketExec runs a command whose input ends, which only v5 can tell, and
// that ends with a code.
func webSocketExec(t *testing.T, c *client) {
	_, id := c.run("ws-exec", "", "sleep", "1000")
	given, err := c.Exec(c.ctx(), &runtimeapi.ExecRequest{ContainerId: id, Cmd: []string{"sh", "-c", "cat; echo err >&2; exit 6"}, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	executor, err := remotecommand.NewWebSocketExecutor(&rest.Config{}, http.MethodGet, given.GetUrl())
	if err != nil {
		t.Fatal(err)
	}
	var out, errw bytes.Buffer
	err = executor.StreamWithContext(c.ctx(), remotecommand.StreamOptions{Stdin: strings.NewReader("input\n"), Stdout: &out, Stderr: &errw})
	var exit exec.ExitError
	if !errors.As(err, &exit) || exit.ExitStatus() != 6 {
		t.Errorf("ended with %v", err)
	}
	if out.String() != "input\n" || errw.String() != "err\n" {
		t.Errorf("%q, %q", out.String(), errw.String())
	}
	// The token was good once.
	if err := executor.StreamWithContext(c.ctx(), remotecommand.StreamOptions{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard}); err == nil {
		t.Error("an address was good twice")
	}
}

// webSocketForward talks to a port of a pod through a tunnel.
func webSocketForward(t *testing.T, c *client) {
	box, id := c.run("ws-forward", "", "sh", "-c", "while :; do echo hello from the pod | nc -l -p 7000; done")
	// Who asks too early ends the whole tunnel, and who connects takes the one listener away: look at it from inside.
	cluster.Until(t, func() error {
		tables, err := c.ExecSync(c.ctx(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"sh", "-c", "cat /proc/net/tcp*"}})
		if err == nil && !strings.Contains(string(tables.GetStdout()), ":1B58 ") {
			err = fmt.Errorf("nothing listens at port 7000:\n%s", tables.GetStdout())
		}
		return err
	})
	given, err := c.PortForward(c.ctx(), &runtimeapi.PortForwardRequest{PodSandboxId: box, Port: []int32{7000}})
	if err != nil {
		t.Fatal(err)
	}
	location, err := url.Parse(given.GetUrl())
	if err != nil {
		t.Fatal(err)
	}
	dialer, err := portforward.NewSPDYOverWebsocketDialer(location, &rest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	forwarder, err := portforward.New(dialer, []string{"0:7000"}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0].Local))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if text, err := io.ReadAll(conn); err != nil || string(text) != "hello from the pod\n" {
		t.Errorf("%q, %v", text, err)
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
