package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// outputFlag adds -o to a verb that can also print JSON and YAML.
func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "", "json, yaml, or nothing for text")
}

// print writes value as JSON or YAML, or lets text write it for a person.
func (c *command) print(output string, value any, text func(io.Writer)) error {
	return c.printAs(output, value, func() error {
		w := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', 0)
		text(w)
		return w.Flush()
	})
}

func (c *command) printAs(output string, value any, text func() error) error {
	switch output {
	case "":
		return text()
	case "json":
		encoder := json.NewEncoder(c.Out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(value)
	case "yaml":
		data, err := yaml.Marshal(value)
		if err != nil {
			return fmt.Errorf("encoding as YAML: %w", err)
		}
		_, err = c.Out.Write(data)
		return err
	}
	return usageError{fmt.Errorf("flag --output: %q is neither json nor yaml", output)}
}
