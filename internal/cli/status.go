package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"go.skiff.dev/skiff/internal/control"
)

func statusVerb(c *command) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the daemon, the node, and what skiff costs",
		Args:  exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.daemon()
			if err != nil {
				return err
			}
			var status control.Status
			if err := client.Get(cmd.Context(), "/status", nil, &status); err != nil {
				return err
			}
			return c.print(output, status, func(w io.Writer) { showStatus(w, status) })
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func showStatus(w io.Writer, s control.Status) {
	fmt.Fprintf(w, "skiff %s\t%s, up %s\n", s.Name, s.State, s.Uptime.Round(time.Second))
	fmt.Fprintf(w, "version\t%s (Kubernetes %s)\n", s.Version, s.Kubernetes)
	fmt.Fprintf(w, "node\t%s is %s at %s\n", s.Node.Name, s.Node.State, s.Node.Address)
	if s.Node.Reason != "" {
		fmt.Fprintf(w, "\t%s\n", s.Node.Reason)
	}
	fmt.Fprintf(w, "API\t%s\n", s.Node.API)
	fmt.Fprintf(w, "kubeconfig\t%s\n", s.Kubeconfig)
	fmt.Fprintf(w, "pods\t%d (%d running), %d containers\n", s.Counts.Pods, s.Counts.RunningPods, s.Counts.Containers)
	fmt.Fprintf(w, "objects\t%d namespaces, %d services, %d deployments, %d images\n", s.Counts.Namespaces, s.Counts.Services, s.Counts.Deployments, s.Counts.Images)
	if s.Roots.Reason != "" {
		fmt.Fprintf(w, "roots\t%s, copies of images (%s)\n", s.Roots.Snapshotter, s.Roots.Reason)
	}
	fmt.Fprintf(w, "memory\t%s (daemon %s, supervisor %s, pauses %s)\n", size(s.Memory.Total), size(s.Memory.Daemon), size(s.Memory.Supervisor), size(s.Memory.Pauses))
	fmt.Fprintf(w, "processes\tdaemon %d, supervisor %d\n", s.Daemon.PID, s.Supervisor.PID)
}

// size prints bytes in binary units.
func size(bytes uint64) string {
	switch {
	case bytes >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%.1f KiB", float64(bytes)/(1<<10))
}
