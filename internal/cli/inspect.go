package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"go.skiff.dev/skiff/internal/control"
)

func inspectVerb(c *command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect components|controllers|crictl",
		Short: "Show how the running daemon is put together",
		Args:  cobra.ArbitraryArgs,
		RunE:  chooseVerb("`components`, `controllers` or `crictl`"),
	}
	cmd.AddCommand(inspectComponents(c), inspectControllers(c), inspectCrictl(c))
	return cmd
}

func inspectComponents(c *command) *cobra.Command {
	return inspect(c, "components", "the components, what each needs, and when it was ready", "/inspect/components",
		func(w io.Writer, stages []control.Stage) {
			fmt.Fprintln(w, "COMPONENT\tNEEDS\tSTARTED\tREADY")
			for _, s := range stages {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Name, orDash(s.Needs), millis(s.Started), millis(s.Ready))
			}
		})
}

func inspectControllers(c *command) *cobra.Command {
	return inspect(c, "controllers", "the controllers, what each reads and writes", "/inspect/controllers",
		func(w io.Writer, rows []control.Controller) {
			fmt.Fprintln(w, "CONTROLLER\tREADS\tWRITES")
			for _, r := range rows {
				fmt.Fprintf(w, "%s\t%s\t%s\n", r.Name, orDash(r.Reads), orDash(r.Writes))
			}
		})
}

// inspectCrictl prints the file that crictl and critest read as /etc/crictl.yaml.
func inspectCrictl(c *command) *cobra.Command {
	return &cobra.Command{
		Use: "crictl", Short: "the configuration with which crictl speaks to this skiff", Args: exactly(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			cfg, _, err := c.load(nil)
			if err != nil {
				return err
			}
			endpoint := "unix://" + cfg.CRISocket()
			// Ten seconds: with crictl's own two a pull would end early.
			fmt.Fprintf(c.Out, "runtime-endpoint: %q\nimage-endpoint: %q\ntimeout: 10\n", endpoint, endpoint)
			return nil
		},
	}
}

// inspect makes a verb that asks the daemon for a list of rows and prints it.
func inspect[T any](c *command, use, short, path string, show func(io.Writer, []T)) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: use, Short: short, Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.daemon()
			if err != nil {
				return err
			}
			var rows []T
			if err := client.Get(cmd.Context(), path, nil, &rows); err != nil {
				return err
			}
			return c.print(output, rows, func(w io.Writer) { show(w, rows) })
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func orDash(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ", ")
}

func millis(ms float64) string {
	if ms < 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f ms", ms)
}
