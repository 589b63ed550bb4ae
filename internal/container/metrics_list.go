package container

import (
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"skiff.dev/skiff/internal/kernel/cgroup"
)

const (
	counter = runtimeapi.MetricType_COUNTER
	gauge   = runtimeapi.MetricType_GAUGE
)

// metric is one of cAdvisor's, under its name.
type metric struct {
	name, help string
	kind       runtimeapi.MetricType
	// labels are the keys of its own labels.
	labels []string
	read   func(reading) []sample
}

// metrics lists all of them. Values are whole numbers, as the CRI has them.
func metrics() []metric {
	cpu, device, iface := []string{"cpu"}, []string{"device"}, []string{"interface"}
	return []metric{
		{"container_cpu_usage_seconds_total", "CPU time used, in seconds.", counter, cpu, func(r reading) []sample { return one(seconds(r.cgroup.CPUUsage), cpuTotal) }},
		{"container_cpu_user_seconds_total", "CPU time used in user mode, in seconds.", counter, nil, func(r reading) []sample { return one(seconds(r.cgroup.CPUUser)) }},
		{"container_cpu_system_seconds_total", "CPU time used in the kernel, in seconds.", counter, nil, func(r reading) []sample { return one(seconds(r.cgroup.CPUSystem)) }},
		{"container_cpu_cfs_periods_total", "Periods of the CPU limit that have passed.", counter, nil, func(r reading) []sample { return one(r.cgroup.Periods) }},
		{"container_cpu_cfs_throttled_periods_total", "Periods in which the CPU limit was reached.", counter, nil, func(r reading) []sample { return one(r.cgroup.ThrottledPer) }},
		{"container_cpu_cfs_throttled_seconds_total", "Time held back by the CPU limit, in seconds.", counter, nil, func(r reading) []sample { return one(seconds(r.cgroup.CPUThrottled)) }},
		{"container_memory_usage_bytes", "Memory in use with all caches, in bytes.", gauge, nil, func(r reading) []sample { return one(r.cgroup.MemoryUsage) }},
		{"container_memory_working_set_bytes", "Memory in use without inactive file pages, in bytes.", gauge, nil, func(r reading) []sample { return one(r.cgroup.MemoryWorking) }},
		{"container_memory_rss", "Anonymous memory, in bytes.", gauge, nil, func(r reading) []sample { return one(r.cgroup.MemoryRSS) }},
		{"container_memory_swap", "Swap in use, in bytes.", gauge, nil, func(r reading) []sample { return one(r.cgroup.SwapUsage) }},
		{"container_memory_max_usage_bytes", "The most memory that was in use, in bytes.", gauge, nil, func(r reading) []sample { return one(r.cgroup.MemoryMax) }},
		{"container_memory_failcnt", "Times that the memory limit was reached.", counter, nil, func(r reading) []sample { return one(r.cgroup.MemoryFails) }},
		{"container_memory_failures_total", "Page faults.", counter, []string{"failure_type", "scope"}, func(r reading) []sample {
			return append(one(r.cgroup.PageFaults, "pgfault", "container"), one(r.cgroup.MajorFaults, "pgmajfault", "container")...)
		}},
		{"container_spec_memory_limit_bytes", "The memory limit in bytes, 0 for none.", gauge, nil, func(r reading) []sample { return one(r.cgroup.MemoryLimit) }},
		{"container_oom_events_total", "Processes killed for want of memory.", counter, nil, func(r reading) []sample { return one(r.cgroup.OOMKills) }},
		{"container_threads", "Threads that run.", gauge, nil, func(r reading) []sample { return one(r.cgroup.PIDs) }},
		{"container_threads_max", "The limit of threads, 0 for none.", gauge, nil, func(r reading) []sample { return one(r.cgroup.PIDLimit) }},
		{"container_start_time_seconds", "Start in seconds since 1970.", gauge, nil, func(r reading) []sample { return one(uint64(max(r.started.Unix(), 0))) }},
		{"container_last_seen", "Time of this reading in seconds since 1970.", gauge, nil, func(r reading) []sample { return one(uint64(r.cgroup.Time.Unix())) }},
		{"container_fs_reads_bytes_total", "Bytes read from block devices.", counter, device, func(r reading) []sample {
			return perDevice(r, func(d cgroup.IOStat) uint64 { return d.ReadBytes })
		}},
		{"container_fs_writes_bytes_total", "Bytes written to block devices.", counter, device, func(r reading) []sample {
			return perDevice(r, func(d cgroup.IOStat) uint64 { return d.WriteBytes })
		}},
		{"container_fs_reads_total", "Reads of block devices.", counter, device, func(r reading) []sample {
			return perDevice(r, func(d cgroup.IOStat) uint64 { return d.Reads })
		}},
		{"container_fs_writes_total", "Writes to block devices.", counter, device, func(r reading) []sample {
			return perDevice(r, func(d cgroup.IOStat) uint64 { return d.Writes })
		}},
		{"container_network_receive_bytes_total", "Bytes received.", counter, iface, func(r reading) []sample {
			return perInterface(r, (*runtimeapi.NetworkInterfaceUsage).GetRxBytes)
		}},
		{"container_network_receive_errors_total", "Errors while receiving.", counter, iface, func(r reading) []sample {
			return perInterface(r, (*runtimeapi.NetworkInterfaceUsage).GetRxErrors)
		}},
		{"container_network_transmit_bytes_total", "Bytes sent.", counter, iface, func(r reading) []sample {
			return perInterface(r, (*runtimeapi.NetworkInterfaceUsage).GetTxBytes)
		}},
		{"container_network_transmit_errors_total", "Errors while sending.", counter, iface, func(r reading) []sample {
			return perInterface(r, (*runtimeapi.NetworkInterfaceUsage).GetTxErrors)
		}},
	}
}
