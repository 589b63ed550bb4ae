package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"go.skiff.dev/skiff/internal/daemon"
)

func downVerb(c *command) *cobra.Command {
	var purge bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the pods and the daemon; with --purge remove every trace",
		Args:  exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := c.load(nil)
			if err != nil {
				return err
			}
			if os.Geteuid() != 0 {
				return fmt.Errorf("`skiff down` needs root; run `sudo skiff down`")
			}
			report := func(what string) { fmt.Fprintln(c.Err, what) }
			if err := daemon.Down(cmd.Context(), cfg, report); err != nil {
				return err
			}
			if !purge {
				return nil
			}
			return daemon.Purge(cmd.Context(), cfg, report)
		},
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "also remove every trace: processes, mounts, namespaces, links, nftables table, cgroups, files, and all data of the cluster (archives of images that you dropped there stay)")
	return cmd
}
