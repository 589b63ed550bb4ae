package nodeapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	kubelettypes "k8s.io/kubelet/pkg/types"
)

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprint(w, "ok")
}

func (s *Server) pods(w http.ResponseWriter, _ *http.Request) {
	list := &v1.PodList{}
	list.Kind, list.APIVersion = "PodList", "v1"
	for _, pod := range s.deps.Pods.Pods() {
		list.Items = append(list.Items, *pod)
	}
	writeJSON(w, list)
}

// runningPods lists pods as the container layer sees them.
func (s *Server) runningPods(w http.ResponseWriter, r *http.Request) {
	list := &v1.PodList{}
	list.Kind, list.APIVersion = "PodList", "v1"
	got, err := s.deps.Runtime.ListContainers(r.Context(), &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{
		State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING},
	}})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	at := map[string]int{}
	for _, c := range got.GetContainers() {
		uid := c.GetLabels()[kubelettypes.KubernetesPodUIDLabel]
		i, ok := at[uid]
		if !ok {
			i = len(list.Items)
			at[uid] = i
			list.Items = append(list.Items, v1.Pod{ObjectMeta: metav1.ObjectMeta{
				Name:      c.GetLabels()[kubelettypes.KubernetesPodNameLabel],
				Namespace: c.GetLabels()[kubelettypes.KubernetesPodNamespaceLabel],
			}})
		}
		list.Items[i].Spec.Containers = append(list.Items[i].Spec.Containers, v1.Container{Name: c.GetMetadata().GetName(), Image: c.GetImageRef()})
	}
	writeJSON(w, list)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a client that went away is its own affair
}

// summary is upstream's statistics of the node and its pods.
func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	pods, err := s.podStats(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	out := &stats.Summary{Pods: pods}
	out.Node.NodeName = s.deps.NodeName
	out.Node.StartTime = metav1.NewTime(s.deps.Started)
	node := readNode()
	now := metav1.NewTime(time.Now())
	out.Node.CPU = &stats.CPUStats{Time: now, UsageCoreNanoSeconds: &node.cpu}
	out.Node.Memory = &stats.MemoryStats{Time: now, UsageBytes: &node.usage, WorkingSetBytes: &node.workingSet, AvailableBytes: &node.available}
	if fs := s.imageFS(r.Context()); fs != nil {
		out.Node.Runtime = &stats.RuntimeStats{ImageFs: fs}
	}
	writeJSON(w, out)
}

func (s *Server) imageFS(ctx context.Context) *stats.FsStats {
	info, err := s.deps.Images.ImageFsInfo(ctx, &runtimeapi.ImageFsInfoRequest{})
	if err != nil || len(info.GetImageFilesystems()) == 0 {
		return nil
	}
	fs := info.GetImageFilesystems()[0]
	used, inodes := fs.GetUsedBytes().GetValue(), fs.GetInodesUsed().GetValue()
	return &stats.FsStats{Time: metav1.NewTime(time.Unix(0, fs.GetTimestamp())), UsedBytes: &used, InodesUsed: &inodes}
}

// podStats groups the containers' statistics by pod.
func (s *Server) podStats(ctx context.Context) ([]stats.PodStats, error) {
	got, err := s.deps.Runtime.ListContainerStats(ctx, &runtimeapi.ListContainerStatsRequest{})
	if err != nil {
		return nil, fmt.Errorf("reading container statistics: %w", err)
	}
	born, err := s.births(ctx)
	if err != nil {
		return nil, err
	}
	at := map[string]int{}
	var pods []stats.PodStats
	for _, c := range got.GetStats() {
		labels := c.GetAttributes().GetLabels()
		uid := labels[kubelettypes.KubernetesPodUIDLabel]
		i, ok := at[uid]
		if !ok {
			i = len(pods)
			at[uid] = i
			pods = append(pods, stats.PodStats{StartTime: born[uid], PodRef: stats.PodReference{
				Name: labels[kubelettypes.KubernetesPodNameLabel], Namespace: labels[kubelettypes.KubernetesPodNamespaceLabel], UID: uid,
			}})
		}
		one := containerStats(c)
		one.StartTime = born[c.GetAttributes().GetId()]
		pods[i].Containers = append(pods[i].Containers, one)
	}
	boxes, err := s.deps.Runtime.ListPodSandboxStats(ctx, &runtimeapi.ListPodSandboxStatsRequest{})
	if err != nil {
		return nil, fmt.Errorf("reading sandbox statistics: %w", err)
	}
	for _, b := range boxes.GetStats() {
		if i, ok := at[b.GetAttributes().GetMetadata().GetUid()]; ok && b.GetLinux().GetNetwork() != nil {
			pods[i].Network = networkStats(b.GetLinux().GetNetwork())
		}
	}
	for i := range pods {
		sum(&pods[i])
	}
	return pods, nil
}

// networkStats are the counters of a pod's interfaces, first the one to the cluster.
func networkStats(n *runtimeapi.NetworkUsage) *stats.NetworkStats {
	one := func(i *runtimeapi.NetworkInterfaceUsage) stats.InterfaceStats {
		return stats.InterfaceStats{
			Name: i.GetName(), RxBytes: value(i.GetRxBytes()), RxErrors: value(i.GetRxErrors()), TxBytes: value(i.GetTxBytes()), TxErrors: value(i.GetTxErrors()),
		}
	}
	out := &stats.NetworkStats{Time: metav1.NewTime(time.Unix(0, n.GetTimestamp()))}
	if d := n.GetDefaultInterface(); d != nil {
		out.InterfaceStats = one(d)
		out.Interfaces = append(out.Interfaces, out.InterfaceStats)
	}
	for _, i := range n.GetInterfaces() {
		out.Interfaces = append(out.Interfaces, one(i))
	}
	return out
}

// births says when each container was made, by its identifier, and each pod's
// sandbox, by the pod's.
func (s *Server) births(ctx context.Context) (map[string]metav1.Time, error) {
	containers, err := s.deps.Runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	boxes, err := s.deps.Runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return nil, fmt.Errorf("listing sandboxes: %w", err)
	}
	born := map[string]metav1.Time{}
	for _, c := range containers.GetContainers() {
		born[c.GetId()] = metav1.NewTime(time.Unix(0, c.GetCreatedAt()))
	}
	for _, b := range boxes.GetItems() {
		uid, at := b.GetLabels()[kubelettypes.KubernetesPodUIDLabel], metav1.NewTime(time.Unix(0, b.GetCreatedAt()))
		if old, ok := born[uid]; !ok || old.Before(&at) { // the newest is the pod's
			born[uid] = at
		}
	}
	return born, nil
}

func containerStats(c *runtimeapi.ContainerStats) stats.ContainerStats {
	out := stats.ContainerStats{Name: c.GetAttributes().GetMetadata().GetName()}
	if cpu := c.GetCpu(); cpu != nil {
		out.CPU = &stats.CPUStats{Time: metav1.NewTime(time.Unix(0, cpu.GetTimestamp())), UsageCoreNanoSeconds: value(cpu.GetUsageCoreNanoSeconds()), UsageNanoCores: value(cpu.GetUsageNanoCores())}
	}
	if m := c.GetMemory(); m != nil {
		out.Memory = &stats.MemoryStats{
			Time: metav1.NewTime(time.Unix(0, m.GetTimestamp())), UsageBytes: value(m.GetUsageBytes()), WorkingSetBytes: value(m.GetWorkingSetBytes()),
			RSSBytes: value(m.GetRssBytes()), AvailableBytes: value(m.GetAvailableBytes()), PageFaults: value(m.GetPageFaults()), MajorPageFaults: value(m.GetMajorPageFaults()),
		}
	}
	if fs := c.GetWritableLayer(); fs != nil {
		out.Rootfs = &stats.FsStats{Time: metav1.NewTime(time.Unix(0, fs.GetTimestamp())), UsedBytes: value(fs.GetUsedBytes()), InodesUsed: value(fs.GetInodesUsed())}
	}
	return out
}

func value(v *runtimeapi.UInt64Value) *uint64 {
	if v == nil {
		return nil
	}
	n := v.GetValue()
	return &n
}

// sum adds up a pod's containers.
func sum(p *stats.PodStats) {
	now := metav1.NewTime(time.Now())
	p.CPU = &stats.CPUStats{Time: now, UsageCoreNanoSeconds: new(uint64), UsageNanoCores: new(uint64)}
	p.Memory = &stats.MemoryStats{Time: now, UsageBytes: new(uint64), WorkingSetBytes: new(uint64), RSSBytes: new(uint64)}
	add := func(to, from *uint64) {
		if from != nil {
			*to += *from
		}
	}
	for i := range p.Containers {
		if c := p.Containers[i].CPU; c != nil {
			add(p.CPU.UsageCoreNanoSeconds, c.UsageCoreNanoSeconds)
			add(p.CPU.UsageNanoCores, c.UsageNanoCores)
		}
		if m := p.Containers[i].Memory; m != nil {
			add(p.Memory.UsageBytes, m.UsageBytes)
			add(p.Memory.WorkingSetBytes, m.WorkingSetBytes)
			add(p.Memory.RSSBytes, m.RSSBytes)
		}
	}
}
