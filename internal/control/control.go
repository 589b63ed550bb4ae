// Package control is the conversation between the `skiff` command and a running
// daemon: HTTP over a unix socket in the run directory that only its owner can
// open. It carries what is about this machine and not about the cluster
// (status, stop, images, the anatomy of a pod); everything about the cluster
// goes through the Kubernetes API.
//
//	GET  /status                 Status
//	POST /stop                   answers when the pods are stopped, then the daemon ends
//	GET  /inspect/components     []lifecycle.Stage and needs
//	GET  /inspect/controllers    what each controller reads and writes
//	GET  /anatomy?namespace=&pod=
//	     /images/...             see internal/image
package control

import "time"

// Status is what `skiff status` shows.
type Status struct {
	Name       string        `json:"name"`
	Version    string        `json:"version"`
	Kubernetes string        `json:"kubernetes"`
	State      string        `json:"state"` // Starting, Ready, NotReady, Stopping
	Daemon     Process       `json:"daemon"`
	Supervisor Process       `json:"supervisor"`
	Node       Node          `json:"node"`
	Counts     Counts        `json:"counts"`
	Memory     Memory        `json:"memory"`
	Roots      Roots         `json:"roots"`
	Kubeconfig string        `json:"kubeconfig"`
	DataDir    string        `json:"dataDir"`
	Uptime     time.Duration `json:"uptimeNanoseconds"`
}

// Process is one of skiff's own processes.
type Process struct {
	PID int `json:"pid"`
	// PSS is its proportional set size in bytes (proc_pid_smaps_rollup(5)).
	PSS uint64 `json:"pssBytes"`
}

// Node is the node of this machine.
type Node struct {
	Name    string `json:"name"`
	State   string `json:"state"` // Ready, NotReady, Unknown
	Reason  string `json:"reason,omitempty"`
	Address string `json:"address"`
	API     string `json:"api"`
}

// Roots says how containers get their root file systems.
type Roots struct {
	Snapshotter string `json:"snapshotter"` // overlayfs or native
	// Reason says why it is not overlayfs.
	Reason string `json:"reason,omitempty"`
}

// Counts are numbers of objects.
type Counts struct {
	Pods        int `json:"pods"`
	RunningPods int `json:"runningPods"`
	Containers  int `json:"containers"`
	Images      int `json:"images"`
	Services    int `json:"services"`
	Deployments int `json:"deployments"`
	Namespaces  int `json:"namespaces"`
}

// Memory is what skiff itself costs, in bytes (PSS), without the containers'
// own processes.
type Memory struct {
	Total      uint64 `json:"totalBytes"`
	Daemon     uint64 `json:"daemonBytes"`
	Supervisor uint64 `json:"supervisorBytes"`
	Pauses     uint64 `json:"pausesBytes"`
}

// Stage is one component of the live graph.
type Stage struct {
	Name  string   `json:"name"`
	Needs []string `json:"needs,omitempty"`
	// Started and Ready are milliseconds after the daemon's start; -1 where
	// that has not happened.
	Started float64 `json:"startedMs"`
	Ready   float64 `json:"readyMs"`
}

// Controller is one row of `skiff inspect controllers`.
type Controller struct {
	Name   string   `json:"name"`
	Reads  []string `json:"reads"`
	Writes []string `json:"writes"`
}
