package container

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"

	"go.skiff.dev/skiff/internal/lifecycle"
)

const (
	// maxMessage is the size of a CRI message; the kubelet and crictl use the same.
	maxMessage = 16 << 20
	// streamIdle ends an exec, attach or port forward that nobody uses.
	streamIdle = 4 * time.Hour
)

// Server is the Service on a socket, for crictl and other clients of the CRI.
type Server struct {
	*Service
	socket     string
	translator Translator
	// streams serves the addresses that Exec, Attach and PortForward give out.
	streams       streaming.Server
	streamAddress string
}

// NewServer serves s on a unix socket of mode 0600. The stream server listens
// on a loopback port; its addresses hold a token that is good once.
func NewServer(s *Service, socket string, translator Translator) *Server {
	return &Server{Service: s, socket: socket, translator: translator}
}

// Component serves once the Service is recovered.
func (v *Server) Component() lifecycle.Component {
	return lifecycle.Component{Name: "cri", Needs: []string{"container"}, Run: v.run}
}

func (v *Server) run(ctx context.Context, ready func()) error {
	lis, err := listenPrivate(v.socket)
	if err != nil {
		return err
	}
	defer os.Remove(v.socket)
	streams, err := v.listenStreams()
	if err != nil {
		lis.Close()
		return err
	}
	defer streams.Close()
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage))
	runtimeapi.RegisterRuntimeServiceServer(server, v)
	runtimeapi.RegisterImageServiceServer(server, v)
	web := &http.Server{Handler: http.HandlerFunc(v.serveStream), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(lis) }()
	go func() {
		if err := web.Serve(streams); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	}()
	ready()
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case err = <-failed:
	}
	server.Stop()
	web.Close()
	return err
}

// listenPrivate makes a socket that is never open to others, not even between
// its creation and a change of its mode.
func listenPrivate(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing the old socket: %w", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(path), ".cri")
	if err != nil {
		return nil, fmt.Errorf("making the CRI socket: %w", err)
	}
	defer os.RemoveAll(tmp)
	lis, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp + "/s", Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("making the CRI socket: %w", err)
	}
	lis.SetUnlinkOnClose(false)
	if err = os.Chmod(tmp+"/s", 0o600); err == nil {
		err = os.Rename(tmp+"/s", path)
	}
	if err != nil {
		lis.Close()
		return nil, fmt.Errorf("making the CRI socket: %w", err)
	}
	return lis, nil
}

// listenStreams makes the stream server on a free loopback port.
func (v *Server) listenStreams() (net.Listener, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for streams: %w", err)
	}
	config := streaming.DefaultConfig
	v.streamAddress = lis.Addr().String()
	config.Addr = v.streamAddress
	config.StreamIdleTimeout = streamIdle
	if v.streams, err = streaming.NewServer(config, v.Streaming()); err != nil {
		lis.Close()
		return nil, fmt.Errorf("making the stream server: %w", err)
	}
	return lis, nil
}

// Exec gives out an address at which a command runs with streams.
func (v *Server) Exec(_ context.Context, req *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	c, err := v.findContainer(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	if rec := c.rec.Load(); rec.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return nil, status.Errorf(codes.FailedPrecondition, "container %q is not running (%s)", rec.ID, rec.State)
	}
	resp, err := v.streams.GetExec(req)
	if err == nil {
		resp.Url += wanted{req.GetStdin(), req.GetStdout(), req.GetStderr(), req.GetTty()}.query()
	}
	return resp, err
}

// Attach gives out an address at which a container's streams are.
func (v *Server) Attach(_ context.Context, req *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	c, err := v.findContainer(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	if rec := c.rec.Load(); rec.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return nil, status.Errorf(codes.FailedPrecondition, "container %q is not running (%s)", rec.ID, rec.State)
	}
	resp, err := v.streams.GetAttach(req)
	if err == nil {
		resp.Url += wanted{req.GetStdin(), req.GetStdout(), req.GetStderr(), req.GetTty()}.query()
	}
	return resp, err
}

// PortForward gives out an address at which ports of a sandbox are.
func (v *Server) PortForward(_ context.Context, req *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	b, err := v.findSandbox(req.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	if rec := b.rec.Load(); !rec.Ready {
		return nil, status.Errorf(codes.FailedPrecondition, "sandbox %q is not ready", rec.ID)
	}
	return v.streams.GetPortForward(req)
}
