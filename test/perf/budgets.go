package main

// budget bounds a figure: limit must hold today, goal is what the design asks
// for in the end.
type budget struct{ limit, goal float64 }

// budgets are for a machine with two cores. A limit is only ever lowered.
func budgets() map[string]budget {
	return map[string]budget{
		"start to Ready":             {1500, 700},
		"memory at rest (PSS)":       {140, 100},
		"CPU at rest":                {1.5, 0.5},
		"pod create to Ready p50":    {150, 50},
		"pod create to Ready p99":    {500, 150},
		"pod delete to gone p50":     {150, 50},
		"Deployment 0 to 100 Ready":  {5000, 1500},
		"Deployment 100 to 0 gone":   {5000, 1500},
		"memory per extra pod (PSS)": {2.5, 1.2},
		"container init":             {3, 3},

		"skiff-oci run / crun run":               {1, 1},
		"container by the supervisor":            {10, 5},
		"container by the supervisor / crun run": {0.9, 0.7},
		"container by the CRI / crun run":        {1.5, 1},
		"exec / runc exec":                       {0.5, 0.5},
		"sandbox with network":                   {16, 15},
		"100 sandboxes with a container":         {1500, 1200},
		"pause (private)":                        {0.8, 0.8},
		"image import again":                     {60, 50},
		"supervisor (private)":                   {9, 8},

		// What 10,000 starts and execs may leave. Only what breathes by itself has room: the collector's heap, connections
		// and goroutines of the API, threads that the Go runtime starts when it feels like it.
		"growth: memory of the daemon":          {16, 0},
		"growth: memory of the supervisor":      {0.5, 0},
		"growth: descriptors of the daemon":     {4, 0},
		"growth: descriptors of the supervisor": {0, 0},
		"growth: threads of the daemon":         {4, 0},
		"growth: threads of the supervisor":     {4, 0},
		"growth: goroutines of the daemon":      {20, 0},
		"growth: mounts":                        {0, 0},
		"growth: cgroups":                       {0, 0},
		"growth: processes":                     {0, 0},
		"growth: network devices":               {0, 0},
		"growth: files of the run directory":    {0, 0},
		"growth: files of the container layer":  {0, 0},
		"growth: files of the network":          {0, 0},
	}
}
