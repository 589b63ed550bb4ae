package probe

import (
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	v1 "k8s.io/api/core/v1"
)

func TestGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	status := health.NewServer()
	status.SetServingStatus("sick", healthpb.HealthCheckResponse_NOT_SERVING)
	healthpb.RegisterHealthServer(server, status)
	go func() { _ = server.Serve(l) }() // ends with Stop
	defer server.Stop()
	target := Target{IP: "127.0.0.1"}
	for service, want := range map[string]Result{"": Success, "sick": Failure, "unknown": Failure} {
		p := &v1.Probe{ProbeHandler: v1.ProbeHandler{GRPC: &v1.GRPCAction{Port: int32(l.Addr().(*net.TCPAddr).Port), Service: &service}}, TimeoutSeconds: 5}
		got, out, err := (&Asker{UserAgent: "kube-probe/1.36"}).Ask(t.Context(), p, target)
		if got != want || err != nil {
			t.Errorf("service %q: %v %q %v", service, got, out, err)
		}
		if service == "sick" && !strings.Contains(out, "NOT_SERVING") {
			t.Errorf("output %q", out)
		}
	}
}
