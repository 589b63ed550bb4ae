package nodeapi

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// textFormat is Prometheus' text exposition format.
const textFormat = "text/plain; version=0.0.4; charset=utf-8"

// metrics tells of the node agent itself.
func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", textFormat)
	head(w, "kubelet_running_pods", "gauge", "Number of pods that have a running pod sandbox")
	fmt.Fprintf(w, "kubelet_running_pods %d\n", len(s.deps.Pods.Pods()))
	head(w, "process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.")
	fmt.Fprintf(w, "process_start_time_seconds %d\n", s.deps.Started.Unix())
}

func head(w io.Writer, name, kind, help string) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// resourceMetrics is what a metrics server reads.
func (s *Server) resourceMetrics(w http.ResponseWriter, r *http.Request) {
	pods, err := s.podStats(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", textFormat)
	node := readNode()
	head(w, "node_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the node in core-seconds")
	fmt.Fprintf(w, "node_cpu_usage_seconds_total %g\n", seconds(node.cpu))
	head(w, "node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes")
	fmt.Fprintf(w, "node_memory_working_set_bytes %d\n", node.workingSet)
	perContainer(w, pods, "container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the container in core-seconds",
		func(c *stats.ContainerStats) (string, bool) {
			if c.CPU == nil || c.CPU.UsageCoreNanoSeconds == nil {
				return "", false
			}
			return fmt.Sprintf("%g", seconds(*c.CPU.UsageCoreNanoSeconds)), true
		})
	perContainer(w, pods, "container_memory_working_set_bytes", "gauge", "Current working set of the container in bytes",
		func(c *stats.ContainerStats) (string, bool) {
			if c.Memory == nil || c.Memory.WorkingSetBytes == nil {
				return "", false
			}
			return strconv.FormatUint(*c.Memory.WorkingSetBytes, 10), true
		})
	perContainer(w, pods, "container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds",
		func(c *stats.ContainerStats) (string, bool) {
			return fmt.Sprintf("%.3f", float64(c.StartTime.UnixNano())/1e9), !c.StartTime.IsZero()
		})
	head(w, "pod_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the pod in core-seconds")
	for i := range pods {
		fmt.Fprintf(w, "pod_cpu_usage_seconds_total{namespace=%q,pod=%q} %g\n", pods[i].PodRef.Namespace, pods[i].PodRef.Name, seconds(*pods[i].CPU.UsageCoreNanoSeconds))
	}
	head(w, "pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes")
	for i := range pods {
		fmt.Fprintf(w, "pod_memory_working_set_bytes{namespace=%q,pod=%q} %d\n", pods[i].PodRef.Namespace, pods[i].PodRef.Name, *pods[i].Memory.WorkingSetBytes)
	}
	for _, name := range []string{"scrape_error", "resource_scrape_error"} { // the old name and the new
		head(w, name, "gauge", "1 if there was an error while getting container metrics, 0 otherwise")
		fmt.Fprintln(w, name, 0)
	}
}

func perContainer(w io.Writer, pods []stats.PodStats, name, kind, help string, get func(*stats.ContainerStats) (string, bool)) {
	head(w, name, kind, help)
	for i := range pods {
		for j := range pods[i].Containers {
			if v, ok := get(&pods[i].Containers[j]); ok {
				fmt.Fprintf(w, "%s{container=%q,namespace=%q,pod=%q} %s\n", name, pods[i].Containers[j].Name, pods[i].PodRef.Namespace, pods[i].PodRef.Name, v)
			}
		}
	}
}

func seconds(nano uint64) float64 { return float64(nano) / 1e9 }

// nodeUsage is what the whole node uses: nanoseconds of CPU, bytes of memory.
type nodeUsage struct{ cpu, usage, workingSet, available uint64 }

// userHz is the unit of /proc/stat (proc(5): sysconf(_SC_CLK_TCK) is 100 on all
// of Linux's architectures that Go runs on).
const userHz = 100

func readNode() nodeUsage {
	var u nodeUsage
	if text, err := os.ReadFile("/proc/stat"); err == nil {
		line, _, _ := strings.Cut(string(text), "\n")
		for i, field := range strings.Fields(line) {
			// user nice system idle iowait irq softirq steal; guests are in user.
			if n, err := strconv.ParseUint(field, 10, 64); err == nil && i != 4 && i != 5 && i <= 8 {
				u.cpu += n * (1e9 / userHz)
			}
		}
	}
	info := map[string]uint64{}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			name, rest, _ := strings.Cut(line, ":")
			if fields := strings.Fields(rest); len(fields) > 0 {
				if n, err := strconv.ParseUint(fields[0], 10, 64); err == nil {
					info[name] = n << 10
				}
			}
		}
	}
	u.available = info["MemAvailable"]
	u.workingSet = info["MemTotal"] - min(info["MemAvailable"], info["MemTotal"])
	u.usage = info["MemTotal"] - min(info["MemFree"], info["MemTotal"])
	return u
}
