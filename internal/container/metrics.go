package container

import (
	"cmp"
	"context"
	"path"
	"strconv"
	"time"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
)

// cpuTotal is cAdvisor's name for all CPUs together.
const cpuTotal = "total"

// metricLabels are on every metric, in this order; a metric's own come after.
func metricLabels() []string {
	return []string{"id", "name", "image", "namespace", "pod", "container"}
}

// reading is what one pod's or one container's metrics are taken from. A pod
// has a network, a container has processes and a disk.
type reading struct {
	cgroup    cgroup.Stats
	started   time.Time
	network   []interfaceCounters
	processes *processCounters
	disk      *diskCounters
}

// sample is a value with the values of the metric's own labels.
type sample struct {
	labels []string
	value  uint64
}

func one(n uint64, labels ...string) []sample { return []sample{{labels, n}} }

func seconds(nanoseconds uint64) uint64 { return nanoseconds / uint64(time.Second) }

// perDevice reads a counter of each block device, named MAJOR:MINOR.
func perDevice(r reading, count func(cgroup.IOStat) uint64) []sample {
	var out []sample
	for _, d := range r.cgroup.IO {
		out = append(out, sample{[]string{strconv.FormatUint(d.Major, 10) + ":" + strconv.FormatUint(d.Minor, 10)}, count(d)})
	}
	return out
}

// perInterface reads a counter of each interface of a pod.
func perInterface(r reading, count func(interfaceCounters) uint64) []sample {
	var out []sample
	for _, i := range r.network {
		out = append(out, sample{[]string{i.name}, count(i)})
	}
	return out
}

// perOperation reads both directions of each block device.
func perOperation(r reading) []sample {
	var out []sample
	for _, d := range r.cgroup.IO {
		major, minor := strconv.FormatUint(d.Major, 10), strconv.FormatUint(d.Minor, 10)
		device := major + ":" + minor
		out = append(out, sample{[]string{device, major, minor, "Read"}, d.ReadBytes}, sample{[]string{device, major, minor, "Write"}, d.WriteBytes})
	}
	return out
}

// perPageSize reads a counter of each size of huge pages.
func perPageSize(r reading, count func(cgroup.HugePageStat) uint64) []sample {
	var out []sample
	for _, h := range r.cgroup.HugePages {
		out = append(out, sample{[]string{h.Size}, count(h)})
	}
	return out
}

// ofProcesses reads a counter of a container's processes.
func ofProcesses(r reading, count func(*processCounters) uint64) []sample {
	if r.processes == nil {
		return nil
	}
	return one(count(r.processes))
}

// ofDisk reads a counter of a container's writable layer.
func ofDisk(r reading, count func(*diskCounters) uint64) []sample {
	if r.disk == nil {
		return nil
	}
	return one(count(r.disk), r.disk.device)
}

// ofPressure reads a sum of waits, where the kernel tells it.
func ofPressure(r reading, wait func(*cgroup.Pressure) cgroup.Stall) []sample {
	if r.cgroup.Pressure == nil {
		return nil
	}
	return one(wait(r.cgroup.Pressure).Total / 1e6)
}

// ListMetricDescriptors names the metrics (KEP-2371); the list never changes.
func (s *Service) ListMetricDescriptors(context.Context, *runtimeapi.ListMetricDescriptorsRequest) (*runtimeapi.ListMetricDescriptorsResponse, error) {
	resp := &runtimeapi.ListMetricDescriptorsResponse{}
	for _, m := range metrics() {
		resp.Descriptors = append(resp.Descriptors, &runtimeapi.MetricDescriptor{
			Name: m.name, Help: m.help, LabelKeys: append(metricLabels(), m.labels...),
		})
	}
	return resp, nil
}

// ListPodSandboxMetrics reads the metrics of ready sandboxes and what runs in them.
func (s *Service) ListPodSandboxMetrics(context.Context, *runtimeapi.ListPodSandboxMetricsRequest) (*runtimeapi.ListPodSandboxMetricsResponse, error) {
	return &runtimeapi.ListPodSandboxMetricsResponse{PodMetrics: s.podMetrics()}, nil
}

// StreamPodSandboxMetrics is ListPodSandboxMetrics in pieces.
func (s *Service) StreamPodSandboxMetrics(_ *runtimeapi.StreamPodSandboxMetricsRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxMetricsResponse]) error {
	return inPieces(s.podMetrics(), func(piece []*runtimeapi.PodSandboxMetrics) error {
		return stream.Send(&runtimeapi.StreamPodSandboxMetricsResponse{PodSandboxMetrics: piece})
	})
}

func (s *Service) podMetrics() []*runtimeapi.PodSandboxMetrics {
	var out []*runtimeapi.PodSandboxMetrics
	for _, b := range s.allSandboxes() {
		rec := b.rec.Load()
		if !rec.Ready {
			continue
		}
		meta := rec.Config.GetMetadata()
		pod := &runtimeapi.PodSandboxMetrics{PodSandboxId: rec.ID}
		if st, ok := cgroupStats(podCgroup(rec)); ok {
			labels := []string{podCgroup(rec), "", "", meta.GetNamespace(), meta.GetName(), ""}
			seen := reading{cgroup: st, started: rec.CreatedAt}
			if !usesNode(netMode(rec.Config)) {
				seen.network = readInterfaces(rec.PID)
			}
			pod.Metrics = measure(seen, labels)
		}
		for _, c := range s.containersOf(rec.ID) {
			crec := c.rec.Load()
			st, ok := cgroupStats(crec.CgroupPath)
			if !ok || crec.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
				continue
			}
			labels := []string{crec.CgroupPath, crec.ID, cmp.Or(crec.Config.GetImage().GetUserSpecifiedImage(), crec.Config.GetImage().GetImage()), meta.GetNamespace(), meta.GetName(), crec.Config.GetMetadata().GetName()}
			pod.ContainerMetrics = append(pod.ContainerMetrics, &runtimeapi.ContainerMetrics{
				ContainerId: crec.ID,
				Metrics:     measure(reading{cgroup: st, started: crec.StartedAt, processes: readProcesses(crec), disk: readDisk(s.writable(crec))}, labels),
			})
		}
		out = append(out, pod)
	}
	return out
}

// podCgroup counts all of a pod; of a sandbox that shares the default parent
// with others, only its pause.
func podCgroup(rec *sandboxRecord) string {
	if rec.Config.GetLinux().GetCgroupParent() == "" {
		return rec.CgroupPath
	}
	return path.Dir(rec.CgroupPath)
}

// measure takes all metrics that the reading has something for. The timestamp
// stays zero: they are read live.
func measure(r reading, labels []string) []*runtimeapi.Metric {
	var out []*runtimeapi.Metric
	for _, m := range metrics() {
		for _, v := range m.read(r) {
			out = append(out, &runtimeapi.Metric{
				Name: m.name, MetricType: m.kind, LabelValues: append(append([]string{}, labels...), v.labels...), Value: u64(v.value),
			})
		}
	}
	return out
}
