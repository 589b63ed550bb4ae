package container

import "testing"

func TestMetrics(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", nil, "sleep", "1000")
	described, err := n.s.ListMetricDescriptors(n.ctx(), nil)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]int{}
	for _, d := range described.GetDescriptors() {
		if _, have := keys[d.GetName()]; have {
			t.Errorf("%s is described twice", d.GetName())
		}
		keys[d.GetName()] = len(d.GetLabelKeys())
	}
	list, err := n.s.ListPodSandboxMetrics(n.ctx(), nil)
	if err != nil || len(list.GetPodMetrics()) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	pod := list.GetPodMetrics()[0]
	if pod.GetPodSandboxId() != box || len(pod.GetContainerMetrics()) != 1 || pod.GetContainerMetrics()[0].GetContainerId() != id {
		t.Fatalf("metrics of the wrong ones: %v", pod)
	}
	values := map[string]uint64{}
	for _, m := range append(pod.GetMetrics(), pod.GetContainerMetrics()[0].GetMetrics()...) {
		if want, ok := keys[m.GetName()]; !ok || want != len(m.GetLabelValues()) {
			t.Errorf("%s has %d labels, described %d", m.GetName(), len(m.GetLabelValues()), want)
		}
	}
	for _, m := range pod.GetContainerMetrics()[0].GetMetrics() {
		values[m.GetName()] = m.GetValue().GetValue()
	}
	for _, name := range []string{
		"container_memory_usage_bytes", "container_start_time_seconds", "container_threads", "container_processes", "container_file_descriptors",
		"container_ulimits_soft", "container_fs_usage_bytes", "container_fs_limit_bytes", "container_fs_inodes_free", "container_spec_cpu_shares", "container_spec_cpu_period",
	} {
		if values[name] == 0 {
			t.Errorf("%s is 0", name)
		}
	}
}

func TestMetricsOfInterfaces(t *testing.T) {
	r := reading{network: []interfaceCounters{{name: "eth0", rxBytes: 7}, {name: "eth1", rxBytes: 8}}}
	got := map[string]uint64{}
	for _, m := range measure(r, nil) {
		if m.GetName() == "container_network_receive_bytes_total" {
			got[m.GetLabelValues()[0]] = m.GetValue().GetValue()
		}
	}
	if got["eth0"] != 7 || got["eth1"] != 8 || len(got) != 2 {
		t.Errorf("%v", got)
	}
}
