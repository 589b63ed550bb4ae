package nodeapi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// cpuUsed is the one metric that dashboards take rates of that are small beside
// the whole numbers that the CRI has.
const cpuUsed = "container_cpu_usage_seconds_total"

// cadvisorMetrics are the container layer's metrics under the names and with the
// labels of cAdvisor, which dashboards ask for.
func (s *Server) cadvisorMetrics(w http.ResponseWriter, r *http.Request) {
	described, err := s.deps.Runtime.ListMetricDescriptors(r.Context(), &runtimeapi.ListMetricDescriptorsRequest{})
	if err == nil {
		var read *runtimeapi.ListPodSandboxMetricsResponse
		if read, err = s.deps.Runtime.ListPodSandboxMetrics(r.Context(), &runtimeapi.ListPodSandboxMetricsRequest{}); err == nil {
			w.Header().Set("Content-Type", textFormat)
			writeMetrics(w, described.GetDescriptors(), read.GetPodMetrics(), s.cpuNanoseconds(r.Context()))
			return
		}
	}
	http.Error(w, err.Error(), http.StatusInternalServerError)
}

// cpuNanoseconds is what sandboxes and containers have used of the processors, by
// identifier; without it the CRI's seconds stand.
func (s *Server) cpuNanoseconds(ctx context.Context) map[string]uint64 {
	used := map[string]uint64{}
	got, err := s.deps.Runtime.ListPodSandboxStats(ctx, &runtimeapi.ListPodSandboxStatsRequest{})
	if err != nil {
		return used
	}
	note := func(id string, cpu *runtimeapi.CpuUsage) {
		if n := cpu.GetUsageCoreNanoSeconds(); n != nil {
			used[id] = n.GetValue()
		}
	}
	for _, b := range got.GetStats() {
		note(b.GetAttributes().GetId(), b.GetLinux().GetCpu())
		for _, c := range b.GetLinux().GetContainers() {
			note(c.GetAttributes().GetId(), c.GetCpu())
		}
	}
	return used
}

// writeMetrics writes the metrics of all pods and containers, each name once.
func writeMetrics(w io.Writer, described []*runtimeapi.MetricDescriptor, pods []*runtimeapi.PodSandboxMetrics, cpu map[string]uint64) {
	keys := map[string][]string{}
	for _, d := range described {
		keys[d.GetName()] = d.GetLabelKeys()
	}
	kinds, lines := map[string]string{}, map[string][]string{}
	add := func(id string, all []*runtimeapi.Metric) {
		for _, m := range all {
			name := m.GetName()
			kinds[name] = strings.ToLower(m.GetMetricType().String())
			value := fmt.Sprint(m.GetValue().GetValue())
			if n, ok := cpu[id]; ok && name == cpuUsed {
				value = fmt.Sprintf("%g", seconds(n))
			}
			lines[name] = append(lines[name], name+labelled(keys[name], m.GetLabelValues())+" "+value)
		}
	}
	for _, p := range pods {
		add(p.GetPodSandboxId(), p.GetMetrics())
		for _, c := range p.GetContainerMetrics() {
			add(c.GetContainerId(), c.GetMetrics())
		}
	}
	for _, d := range described {
		if name := d.GetName(); len(lines[name]) > 0 {
			head(w, name, kinds[name], d.GetHelp())
			fmt.Fprintln(w, strings.Join(lines[name], "\n"))
		}
	}
}

// labelled writes labels as the text format has them.
func labelled(keys, values []string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	var all []string
	for i := range min(len(keys), len(values)) {
		all = append(all, keys[i]+`="`+escape.Replace(values[i])+`"`)
	}
	return "{" + strings.Join(all, ",") + "}"
}
