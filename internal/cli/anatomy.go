package cli

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"go.skiff.dev/skiff/internal/anatomy"
)

func anatomyVerb(c *command) *cobra.Command {
	var output, namespace string
	cmd := &cobra.Command{
		Use:   "anatomy pod/NAME",
		Short: "Show what a running pod is made of, read live from the kernel",
		Long: "Show what a running pod is made of, read live from the kernel: the namespaces that its pause process holds,\n" +
			"the namespaces of each container, processes, cgroups with limits and usage, and both ends of its link.",
		Args: exactly(1, "pod/NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, name, ok := strings.Cut(args[0], "/")
			if !ok {
				kind, name = "pod", args[0]
			}
			if (kind != "pod" && kind != "pods" && kind != "po") || name == "" {
				return usageError{fmt.Errorf("%q is not pod/NAME", args[0])}
			}
			client, err := c.daemon()
			if err != nil {
				return err
			}
			var pod anatomy.Pod
			if err := client.Get(cmd.Context(), "/anatomy", url.Values{"namespace": {namespace}, "pod": {name}}, &pod); err != nil {
				return err
			}
			return c.printAs(output, pod, func() error { pod.Text(c.Out); return nil })
		},
	}
	outputFlag(cmd, &output)
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace of the pod")
	return cmd
}
