package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"go.skiff.dev/skiff/internal/version"
)

func versionVerb(c *command) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print skiff's version and the Kubernetes release it serves",
		Args:  exactly(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			info := version.Get()
			return c.print(output, info, func(w io.Writer) {
				fmt.Fprintf(w, "skiff\t%s\nKubernetes\t%s\nbuilt with\t%s for %s\n", info.Skiff, info.Kubernetes, info.Go, info.Platform)
			})
		},
	}
	outputFlag(cmd, &output)
	return cmd
}
