// Package cri tests the container layer as its other clients meet it: crictl
// and whoever speaks the CRI on cri.sock.
package cri

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

// client is a client of the CRI of one cluster.
type client struct {
	t *testing.T
	c *cluster.Cluster
	runtimeapi.RuntimeServiceClient
	images runtimeapi.ImageServiceClient
}

func connect(t *testing.T, c *cluster.Cluster) *client {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+filepath.Join(c.Dir, "run", "cri.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t, c, runtimeapi.NewRuntimeServiceClient(conn), runtimeapi.NewImageServiceClient(conn)}
}

func (c *client) ctx() context.Context {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	c.t.Cleanup(cancel)
	return ctx
}

// run starts a pod with one container and returns both ids.
func (c *client) run(name, handler string, args ...string) (box, id string) {
	c.t.Helper()
	config := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "cri", Uid: name},
		Linux:    &runtimeapi.LinuxPodSandboxConfig{},
	}
	made, err := c.RunPodSandbox(c.ctx(), &runtimeapi.RunPodSandboxRequest{Config: config, RuntimeHandler: handler})
	if err != nil {
		c.t.Fatal(err)
	}
	box = made.GetPodSandboxId()
	c.t.Cleanup(func() {
		if _, err := c.RemovePodSandbox(context.Background(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: box}); err != nil {
			c.t.Error(err)
		}
	})
	created, err := c.CreateContainer(c.ctx(), &runtimeapi.CreateContainerRequest{PodSandboxId: box, SandboxConfig: config, Config: &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "main"}, Image: &runtimeapi.ImageSpec{Image: "e2e/busybox:1"}, Command: args,
	}})
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.StartContainer(c.ctx(), &runtimeapi.StartContainerRequest{ContainerId: created.GetContainerId()}); err != nil {
		c.t.Fatal(err)
	}
	return box, created.GetContainerId()
}

// TestCRI starts one cluster for all.
func TestCRI(t *testing.T) {
	c := cluster.Start(t, "--runtime-handlers=crun=/usr/bin/crun")
	c.ImportDebian("e2e/busybox:1", "busybox")
	for name, test := range map[string]func(*testing.T, *client){
		"websocket exec": webSocketExec, "websocket port forward": webSocketForward, "runtime class": runtimeClass,
	} {
		t.Run(name, func(t *testing.T) { test(t, connect(t, c)) })
	}
}
