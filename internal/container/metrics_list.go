package container

import (
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
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
	cpu, device, iface, pages := []string{"cpu"}, []string{"device"}, []string{"interface"}, []string{"pagesize"}
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
			return perInterface(r, func(i interfaceCounters) uint64 { return i.rxBytes })
		}},
		{"container_network_receive_errors_total", "Errors while receiving.", counter, iface, func(r reading) []sample {
			return perInterface(r, func(i interfaceCounters) uint64 { return i.rxErrors })
		}},
		{"container_network_transmit_bytes_total", "Bytes sent.", counter, iface, func(r reading) []sample {
			return perInterface(r, func(i interfaceCounters) uint64 { return i.txBytes })
		}},
		{"container_network_transmit_errors_total", "Errors while sending.", counter, iface, func(r reading) []sample {
			return perInterface(r, func(i interfaceCounters) uint64 { return i.txErrors })
		}},
		{"container_network_receive_packets_total", "Packets received.", counter, iface, func(r reading) []sample {
			return perInterface(r, func(i interfaceCounters) uint64 { return i.rxPackets })
		}},
		{"container_network_receive_packets_dropped_total", "Packets dropped while receiving.", counter, iface, func(r reading) []sample {
			return perInterface(r, func(i interfaceCounters) uint64 { return i.rxDropped })
		}},
		{"container_network_transmit_packets_total", "Packets sent.", counter, iface, func(r reading) []sample {
			return perInterface(r, func(i interfaceCounters) uint64 { return i.txPackets })
		}},
		{"container_network_transmit_packets_dropped_total", "Packets dropped while sending.", counter, iface, func(r reading) []sample {
			return perInterface(r, func(i interfaceCounters) uint64 { return i.txDropped })
		}},
		{"container_pressure_cpu_waiting_seconds_total", "Time in which a task waited for cpu, in seconds.", counter, nil, func(r reading) []sample {
			return ofPressure(r, func(p *cgroup.Pressure) cgroup.Stall { return p.CPU.Some })
		}},
		{"container_pressure_cpu_stalled_seconds_total", "Time in which no task could go on for want of cpu, in seconds.", counter, nil, func(r reading) []sample {
			return ofPressure(r, func(p *cgroup.Pressure) cgroup.Stall { return p.CPU.Full })
		}},
		{"container_pressure_memory_waiting_seconds_total", "Time in which a task waited for memory, in seconds.", counter, nil, func(r reading) []sample {
			return ofPressure(r, func(p *cgroup.Pressure) cgroup.Stall { return p.Memory.Some })
		}},
		{"container_pressure_memory_stalled_seconds_total", "Time in which no task could go on for want of memory, in seconds.", counter, nil, func(r reading) []sample {
			return ofPressure(r, func(p *cgroup.Pressure) cgroup.Stall { return p.Memory.Full })
		}},
		{"container_pressure_io_waiting_seconds_total", "Time in which a task waited for io, in seconds.", counter, nil, func(r reading) []sample {
			return ofPressure(r, func(p *cgroup.Pressure) cgroup.Stall { return p.IO.Some })
		}},
		{"container_pressure_io_stalled_seconds_total", "Time in which no task could go on for want of io, in seconds.", counter, nil, func(r reading) []sample {
			return ofPressure(r, func(p *cgroup.Pressure) cgroup.Stall { return p.IO.Full })
		}},
		{"container_fs_usage_bytes", "Bytes of the writable layer.", gauge, device, func(r reading) []sample {
			return ofDisk(r, func(d *diskCounters) uint64 { return d.used })
		}},
		{"container_fs_limit_bytes", "Size of the file system that the writable layer is on, in bytes.", gauge, device, func(r reading) []sample {
			return ofDisk(r, func(d *diskCounters) uint64 { return d.size })
		}},
		{"container_fs_inodes_total", "Inodes of that file system.", gauge, device, func(r reading) []sample {
			return ofDisk(r, func(d *diskCounters) uint64 { return d.inodes })
		}},
		{"container_fs_inodes_free", "Free inodes of that file system.", gauge, device, func(r reading) []sample {
			return ofDisk(r, func(d *diskCounters) uint64 { return d.inodesFree })
		}},
		{"container_processes", "Processes that run.", gauge, nil, func(r reading) []sample {
			return ofProcesses(r, func(p *processCounters) uint64 { return p.count })
		}},
		{"container_file_descriptors", "Open files of all processes.", gauge, nil, func(r reading) []sample {
			return ofProcesses(r, func(p *processCounters) uint64 { return p.files })
		}},
		{"container_sockets", "Open sockets of all processes.", gauge, nil, func(r reading) []sample {
			return ofProcesses(r, func(p *processCounters) uint64 { return p.sockets })
		}},
		{"container_ulimits_soft", "Soft limits of the first process.", gauge, []string{"ulimit"}, func(r reading) []sample {
			if r.processes == nil {
				return nil
			}
			return one(r.processes.maxFiles, "max_open_files")
		}},
		{"container_blkio_device_usage_total", "Bytes read from and written to block devices.", counter, []string{"device", "major", "minor", "operation"}, perOperation},
		{"container_memory_cache", "Pages of files in memory, in bytes.", gauge, nil, func(r reading) []sample { return one(r.cgroup.MemoryCache) }},
		{"container_memory_mapped_file", "Mapped pages of files, in bytes.", gauge, nil, func(r reading) []sample { return one(r.cgroup.MemoryMapped) }},
		{"container_memory_kernel_usage", "Memory of the kernel, in bytes.", gauge, nil, func(r reading) []sample { return one(r.cgroup.MemoryKernel) }},
		{"container_hugetlb_usage_bytes", "Huge pages in use, in bytes.", gauge, pages, func(r reading) []sample {
			return perPageSize(r, func(h cgroup.HugePageStat) uint64 { return h.Usage })
		}},
		{"container_hugetlb_max_usage_bytes", "The most huge pages that were in use, in bytes.", gauge, pages, func(r reading) []sample {
			return perPageSize(r, func(h cgroup.HugePageStat) uint64 { return h.Max })
		}},
		{"container_spec_cpu_period", "The period of the CPU limit, in microseconds.", gauge, nil, func(r reading) []sample { return one(r.cgroup.CPUPeriod) }},
		{"container_spec_cpu_quota", "The CPU limit in each period, in microseconds; missing without one.", gauge, nil, func(r reading) []sample {
			if r.cgroup.CPUQuota == 0 {
				return nil
			}
			return one(r.cgroup.CPUQuota)
		}},
		{"container_spec_cpu_shares", "The share of the CPU, 1024 for a whole one.", gauge, nil, func(r reading) []sample { return one(r.cgroup.CPUShares) }},
		{"container_spec_memory_reservation_limit_bytes", "Memory that is taken away last, in bytes, 0 for none.", gauge, nil, func(r reading) []sample { return one(r.cgroup.MemorySoft) }},
		{"container_spec_memory_swap_limit_bytes", "The limit of swap in bytes, 0 for none.", gauge, nil, func(r reading) []sample { return one(r.cgroup.SwapLimit) }},
	}
}
