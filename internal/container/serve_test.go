package container

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestServedOnASocket(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", nil, "sleep", "1000")
	socket := filepath.Join(n.dir, "cri.sock")
	ctx, cancel := context.WithCancel(n.ctx())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- NewServer(n.s, socket, nil).Component().Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Log(err)
		}
	}()
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := runtimeapi.NewRuntimeServiceClient(conn)
	out, err := client.ExecSync(n.ctx(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"echo", "over grpc"}})
	if err != nil || string(out.Stdout) != "over grpc\n" {
		t.Errorf("%v, %v", out, err)
	}
	images, err := runtimeapi.NewImageServiceClient(conn).ListImages(n.ctx(), &runtimeapi.ListImagesRequest{})
	if err != nil || len(images.Images) != 1 {
		t.Errorf("%v, %v", images, err)
	}
	exec, err := client.Exec(n.ctx(), &runtimeapi.ExecRequest{ContainerId: id, Cmd: []string{"true"}, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	if u, err := url.Parse(exec.Url); err != nil || u.Hostname() != "127.0.0.1" {
		t.Errorf("address %q, %v", exec.Url, err)
	}
	stream, err := client.GetContainerEvents(n.ctx(), &runtimeapi.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Header(); err == nil {
		if _, err := client.StopContainer(n.ctx(), &runtimeapi.StopContainerRequest{ContainerId: id}); err != nil {
			t.Fatal(err)
		}
		if e, err := stream.Recv(); err != nil || e.ContainerId != id {
			t.Errorf("%v, %v", e, err)
		}
	}
}
