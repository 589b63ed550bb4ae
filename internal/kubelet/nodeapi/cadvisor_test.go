package nodeapi

import (
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestWriteMetrics(t *testing.T) {
	described := []*runtimeapi.MetricDescriptor{
		{Name: cpuUsed, Help: "CPU.", LabelKeys: []string{"name", "cpu"}},
		{Name: "container_threads", Help: "Threads.", LabelKeys: []string{"name"}},
		{Name: "container_sockets", Help: "Sockets.", LabelKeys: []string{"name"}},
	}
	number := func(n uint64) *runtimeapi.UInt64Value { return &runtimeapi.UInt64Value{Value: n} }
	pods := []*runtimeapi.PodSandboxMetrics{{
		PodSandboxId: "box",
		Metrics:      []*runtimeapi.Metric{{Name: cpuUsed, LabelValues: []string{"", "total"}, Value: number(7)}},
		ContainerMetrics: []*runtimeapi.ContainerMetrics{{ContainerId: "c", Metrics: []*runtimeapi.Metric{
			{Name: cpuUsed, LabelValues: []string{"c", "total"}, Value: number(1)},
			{Name: "container_threads", MetricType: runtimeapi.MetricType_GAUGE, LabelValues: []string{"a\"\\\n"}, Value: number(3)},
		}}},
	}}
	var out strings.Builder
	writeMetrics(&out, described, pods, map[string]uint64{"c": 1_250_000_000})
	want := `# HELP container_cpu_usage_seconds_total CPU.
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{name="",cpu="total"} 7
container_cpu_usage_seconds_total{name="c",cpu="total"} 1.25
# HELP container_threads Threads.
# TYPE container_threads gauge
container_threads{name="a\"\\\n"} 3
`
	if out.String() != want {
		t.Errorf("%s, want %s", out.String(), want)
	}
}
