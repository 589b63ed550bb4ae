package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"skiff.dev/skiff/internal/control"
)

func inspectVerb(c *command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect components|controllers",
		Short: "Show how the running daemon is put together",
		Args:  cobra.ArbitraryArgs,
		RunE:  chooseVerb("`components` or `controllers`"),
	}
	cmd.AddCommand(inspectComponents(c), inspectControllers(c))
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
