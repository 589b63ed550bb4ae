package container

import (
	"context"
	"io/fs"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
)

// cpuRates remembers the last reading of each cgroup: the CRI wants the rate of
// CPU use, and the time between two readings is the caller's.
type cpuRates struct {
	mu   sync.Mutex
	last map[string]cpuReading
}

type cpuReading struct {
	at    time.Time
	usage uint64
	rate  uint64
}

// rateWindow is the least time between two readings that a rate is taken from.
const rateWindow = time.Second

func (r *cpuRates) rate(key string, at time.Time, usage uint64) *runtimeapi.UInt64Value {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		r.last = map[string]cpuReading{}
	}
	old, have := r.last[key]
	switch {
	case !have || usage < old.usage:
		r.last[key] = cpuReading{at: at, usage: usage}
		return nil
	case at.Sub(old.at) < rateWindow:
		return u64(old.rate)
	}
	rate := uint64(float64(usage-old.usage) / at.Sub(old.at).Seconds())
	r.last[key] = cpuReading{at: at, usage: usage, rate: rate}
	return u64(rate)
}

func (r *cpuRates) keep(alive map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.last {
		if !alive[key] {
			delete(r.last, key)
		}
	}
}

func (s *Service) cpuUsage(key string, st cgroup.Stats) *runtimeapi.CpuUsage {
	return &runtimeapi.CpuUsage{
		Timestamp: st.Time.UnixNano(), UsageCoreNanoSeconds: u64(st.CPUUsage), UsageNanoCores: s.cpu.rate(key, st.Time, st.CPUUsage),
		Psi: psi(st, func(p *cgroup.Pressure) cgroup.Stalls { return p.CPU }),
	}
}

func memoryUsage(st cgroup.Stats) *runtimeapi.MemoryUsage {
	out := &runtimeapi.MemoryUsage{
		Timestamp: st.Time.UnixNano(), WorkingSetBytes: u64(st.MemoryWorking), UsageBytes: u64(st.MemoryUsage), RssBytes: u64(st.MemoryRSS),
		PageFaults: u64(st.PageFaults), MajorPageFaults: u64(st.MajorFaults),
		Psi: psi(st, func(p *cgroup.Pressure) cgroup.Stalls { return p.Memory }),
	}
	if st.MemoryLimit > st.MemoryWorking {
		out.AvailableBytes = u64(st.MemoryLimit - st.MemoryWorking)
	} else {
		out.AvailableBytes = u64(0)
	}
	return out
}

// ioUsage is nil where the kernel tells no pressure: it has nothing else.
func ioUsage(st cgroup.Stats) *runtimeapi.IoUsage {
	waits := psi(st, func(p *cgroup.Pressure) cgroup.Stalls { return p.IO })
	if waits == nil {
		return nil
	}
	return &runtimeapi.IoUsage{Timestamp: st.Time.UnixNano(), Psi: waits}
}

// psi is the pressure on one resource, in nanoseconds as the CRI has it.
func psi(st cgroup.Stats, of func(*cgroup.Pressure) cgroup.Stalls) *runtimeapi.PsiStats {
	if st.Pressure == nil {
		return nil
	}
	data := func(w cgroup.Stall) *runtimeapi.PsiData {
		return &runtimeapi.PsiData{Total: w.Total * 1000, Avg10: w.Avg10, Avg60: w.Avg60, Avg300: w.Avg300}
	}
	waits := of(st.Pressure)
	return &runtimeapi.PsiStats{Full: data(waits.Full), Some: data(waits.Some)}
}

func (s *Service) containerStats(c *ctr) *runtimeapi.ContainerStats {
	rec := c.rec.Load()
	out := &runtimeapi.ContainerStats{Attributes: &runtimeapi.ContainerAttributes{
		Id: rec.ID, Metadata: rec.Config.GetMetadata(), Labels: rec.Config.GetLabels(), Annotations: rec.Config.GetAnnotations(),
	}}
	if rec.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
		if st, ok := cgroupStats(rec.CgroupPath); ok {
			out.Cpu, out.Memory = s.cpuUsage(rec.ID, st), memoryUsage(st)
			out.Io = ioUsage(st)
			out.Swap = &runtimeapi.SwapUsage{Timestamp: st.Time.UnixNano(), SwapUsageBytes: u64(st.SwapUsage)}
		}
	}
	bytes, inodes := diskUsage(s.writable(rec))
	out.WritableLayer = &runtimeapi.FilesystemUsage{
		Timestamp: time.Now().UnixNano(), FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: filepath.Clean(s.deps.Dir)},
		UsedBytes: u64(bytes), InodesUsed: u64(inodes),
	}
	return out
}

// diskUsage counts the blocks and files below a directory that changed after
// since: contents, attributes, or what is in a directory. A file with several names counts once.
func diskUsage(dir string, since time.Time) (bytes, inodes uint64) {
	type file struct{ dev, ino uint64 }
	seen := map[file]bool{}
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // files come and go while they are counted
		}
		info, err := e.Info()
		if err != nil {
			return nil //nolint:nilerr // see above
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || !time.Unix(st.Ctim.Unix()).After(since) {
			return nil
		}
		if st.Nlink > 1 && !e.IsDir() {
			if id := (file{st.Dev, st.Ino}); seen[id] {
				return nil
			} else {
				seen[id] = true
			}
		}
		bytes += uint64(st.Blocks) * 512
		inodes++
		return nil
	})
	return bytes, inodes
}

// ContainerStats reads one container's counters.
func (s *Service) ContainerStats(_ context.Context, req *runtimeapi.ContainerStatsRequest) (*runtimeapi.ContainerStatsResponse, error) {
	c, err := s.findContainer(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ContainerStatsResponse{Stats: s.containerStats(c)}, nil
}

// ListContainerStats reads the counters of running containers, filtered.
func (s *Service) ListContainerStats(_ context.Context, req *runtimeapi.ListContainerStatsRequest) (*runtimeapi.ListContainerStatsResponse, error) {
	return &runtimeapi.ListContainerStatsResponse{Stats: s.listContainerStats(req.GetFilter())}, nil
}

func (s *Service) listContainerStats(filter *runtimeapi.ContainerStatsFilter) []*runtimeapi.ContainerStats {
	var out []*runtimeapi.ContainerStats
	alive := map[string]bool{}
	for _, c := range s.allContainers() {
		rec := c.rec.Load()
		alive[rec.ID], alive[rec.SandboxID] = true, true
		if rec.State == runtimeapi.ContainerState_CONTAINER_EXITED || !matchID(rec.ID, filter.GetId()) || !matchID(rec.SandboxID, filter.GetPodSandboxId()) ||
			!matchLabels(rec.Config.GetLabels(), filter.GetLabelSelector()) {
			continue
		}
		out = append(out, s.containerStats(c))
	}
	s.cpu.keep(alive)
	return out
}

// StreamContainerStats is ListContainerStats in pieces.
func (s *Service) StreamContainerStats(req *runtimeapi.StreamContainerStatsRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamContainerStatsResponse]) error {
	return inPieces(s.listContainerStats(req.GetFilter()), func(piece []*runtimeapi.ContainerStats) error {
		return stream.Send(&runtimeapi.StreamContainerStatsResponse{ContainerStats: piece})
	})
}

func (s *Service) sandboxStats(b *sandbox) *runtimeapi.PodSandboxStats {
	rec := b.rec.Load()
	out := &runtimeapi.PodSandboxStats{
		Attributes: &runtimeapi.PodSandboxAttributes{
			Id: rec.ID, Metadata: rec.Config.GetMetadata(), Labels: rec.Config.GetLabels(), Annotations: rec.Config.GetAnnotations(),
		},
		Linux: &runtimeapi.LinuxPodSandboxStats{},
	}
	if st, ok := cgroupStats(podCgroup(rec)); ok && rec.Ready {
		out.Linux.Cpu, out.Linux.Memory = s.cpuUsage(rec.ID, st), memoryUsage(st)
		out.Linux.Io = ioUsage(st)
		out.Linux.Process = &runtimeapi.ProcessUsage{Timestamp: st.Time.UnixNano(), ProcessCount: u64(st.PIDs)}
	}
	// A pod on the node's network has no traffic of its own.
	if rec.Ready && !usesNode(netMode(rec.Config)) {
		out.Linux.Network = networkUsage(rec.PID)
	}
	for _, c := range s.containersOf(rec.ID) {
		if c.rec.Load().State != runtimeapi.ContainerState_CONTAINER_EXITED {
			out.Linux.Containers = append(out.Linux.Containers, s.containerStats(c))
		}
	}
	return out
}

// networkUsage is what the CRI tells of the interfaces of a process's network
// namespace.
func networkUsage(pid int) *runtimeapi.NetworkUsage {
	all := readInterfaces(pid)
	if all == nil {
		return nil
	}
	out := &runtimeapi.NetworkUsage{Timestamp: time.Now().UnixNano()}
	for _, i := range all {
		usage := &runtimeapi.NetworkInterfaceUsage{Name: i.name, RxBytes: u64(i.rxBytes), RxErrors: u64(i.rxErrors), TxBytes: u64(i.txBytes), TxErrors: u64(i.txErrors)}
		if i.name == "eth0" {
			out.DefaultInterface = usage
			continue
		}
		out.Interfaces = append(out.Interfaces, usage)
	}
	return out
}

// PodSandboxStats reads one sandbox's counters.
func (s *Service) PodSandboxStats(_ context.Context, req *runtimeapi.PodSandboxStatsRequest) (*runtimeapi.PodSandboxStatsResponse, error) {
	b, err := s.findSandbox(req.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	if !b.rec.Load().Ready {
		return nil, status.Errorf(codes.FailedPrecondition, "sandbox %q is not ready", req.GetPodSandboxId())
	}
	return &runtimeapi.PodSandboxStatsResponse{Stats: s.sandboxStats(b)}, nil
}

// ListPodSandboxStats reads the counters of ready sandboxes, filtered.
func (s *Service) ListPodSandboxStats(_ context.Context, req *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	return &runtimeapi.ListPodSandboxStatsResponse{Stats: s.listSandboxStats(req.GetFilter())}, nil
}

func (s *Service) listSandboxStats(filter *runtimeapi.PodSandboxStatsFilter) []*runtimeapi.PodSandboxStats {
	var out []*runtimeapi.PodSandboxStats
	for _, b := range s.allSandboxes() {
		rec := b.rec.Load()
		if rec.Ready && matchID(rec.ID, filter.GetId()) && matchLabels(rec.Config.GetLabels(), filter.GetLabelSelector()) {
			out = append(out, s.sandboxStats(b))
		}
	}
	return out
}

// StreamPodSandboxStats is ListPodSandboxStats in pieces.
func (s *Service) StreamPodSandboxStats(req *runtimeapi.StreamPodSandboxStatsRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxStatsResponse]) error {
	return inPieces(s.listSandboxStats(req.GetFilter()), func(piece []*runtimeapi.PodSandboxStats) error {
		return stream.Send(&runtimeapi.StreamPodSandboxStatsResponse{PodSandboxStats: piece})
	})
}
