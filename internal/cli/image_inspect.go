package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"

	"go.skiff.dev/skiff/internal/image"
)

func imageInspect(c *command) *cobra.Command {
	return aboutImage(c, "inspect", "Show all about an image", showDetail)
}

func imageHistory(c *command) *cobra.Command {
	return aboutImage(c, "history", "Show how an image was built, the last step first", showHistory)
}

// aboutImage makes a verb that shows one image.
func aboutImage(c *command, verb, short string, show func(io.Writer, image.Detail)) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: verb + " REF|ID", Short: short, Args: exactly(1, "one image reference or id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.images(cmd)
			if err != nil {
				return err
			}
			detail, err := client.Inspect(cmd.Context(), args[0])
			if err != nil {
				return missing(err, args[0])
			}
			var value any = detail
			if verb == "history" {
				value = detail.History
			}
			return c.print(output, value, func(w io.Writer) { show(w, detail) })
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func showDetail(w io.Writer, d image.Detail) {
	row := func(key string, values ...string) {
		for i, v := range values {
			if v == "" {
				continue
			}
			if i > 0 {
				key = ""
			}
			fmt.Fprintf(w, "%s\t%s\n", key, v)
		}
	}
	row("id", d.ID)
	row("names", d.Tags...)
	row("digests", d.Digests...)
	row("platform", strings.Trim(strings.Join([]string{d.Platform.OS, d.Platform.Architecture, d.Platform.Variant}, "/"), "/"))
	row("size", size(uint64(max(d.Size, 0))))
	row("layers", fmt.Sprint(len(d.DiffIDs)))
	row("author", d.Author)
	row("created", moment(d.Created))
	row("imported", moment(d.Imported))
	row("last used", moment(d.LastUsed))
	row("used by", d.UsedBy...)
	if d.Pinned {
		row("pinned", "yes, it is never collected")
	}
	row("entrypoint", quoted(d.Config.Entrypoint))
	row("command", quoted(d.Config.Cmd))
	row("directory", d.Config.WorkingDir)
	row("user", d.Config.User)
	row("ports", strings.Join(slices.Sorted(maps.Keys(d.Config.ExposedPorts)), ", "))
	row("volumes", strings.Join(slices.Sorted(maps.Keys(d.Config.Volumes)), ", "))
	row("stop signal", d.Config.StopSignal)
	row("environment", d.Config.Env...)
	for i, key := range slices.Sorted(maps.Keys(d.Config.Labels)) {
		row([]string{"labels", ""}[min(i, 1)], key+"="+d.Config.Labels[key])
	}
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// quoted shows a command line so that its words can be told apart.
func quoted(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return fmt.Sprintf("%q", words)
}

// stepWidth is how much of a step's command is shown: -o json has all of it.
const stepWidth = 100

func showHistory(w io.Writer, d image.Detail) {
	fmt.Fprintln(w, "LAYER\tAGE\tSIZE\tCREATED BY")
	for _, st := range slices.Backward(d.History) {
		layer, age, by := "-", "-", strings.Join(strings.Fields(st.CreatedBy), " ")
		if st.Layer != "" {
			layer = shorten(st.Layer)
		}
		if !st.Created.IsZero() {
			age = duration.HumanDuration(time.Since(st.Created))
		}
		if by == "" {
			by = st.Comment
		}
		if r := []rune(by); len(r) > stepWidth {
			by = string(r[:stepWidth-3]) + "..."
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", layer, age, size(uint64(max(st.Size, 0))), by)
	}
}
