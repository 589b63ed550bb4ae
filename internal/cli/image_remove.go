package cli

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"go.skiff.dev/skiff/internal/image"
)

func imageTag(c *command) *cobra.Command {
	return &cobra.Command{
		Use: "tag REF|ID NAME", Short: "Give an image another name",
		Args: exactly(2, "an image and its new name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.images(cmd)
			if err != nil {
				return err
			}
			// What is printed is the name in full, which is what a pod gets.
			ref, err := image.ParseReference(args[1])
			if err != nil {
				return usageError{err}
			}
			if _, err := client.Tag(cmd.Context(), args[0], args[1]); err != nil {
				return missing(err, args[0])
			}
			fmt.Fprintln(c.Out, ref.Tagged())
			return nil
		},
	}
}

func imageRemove(c *command) *cobra.Command {
	return &cobra.Command{
		Use: "rm REF|ID...", Aliases: []string{"remove"}, Short: "Remove names of images, and an image with its last name",
		Args: someImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.images(cmd)
			if err != nil {
				return err
			}
			// One that cannot go keeps no other one.
			var errs []error
			for _, ref := range args {
				if err := client.Remove(cmd.Context(), ref); err != nil {
					errs = append(errs, missingHere(err))
					continue
				}
				fmt.Fprintln(c.Out, ref)
			}
			return errors.Join(errs...)
		},
	}
}

// missingHere is missing for who does not want the image.
func missingHere(err error) error {
	if !errors.Is(err, image.ErrNotFound) {
		return err
	}
	return fmt.Errorf("%w; `skiff image ls` lists what is here", err)
}

func imagePrune(c *command) *cobra.Command {
	var output string
	var all bool
	var unused time.Duration
	cmd := &cobra.Command{
		Use: "prune", Short: "Remove images without a name that no container uses",
		Long: "Remove images that no container uses, for its root or as a volume, and that have no name: whose tags other images have\n" +
			"by now. One that was pulled by its digest (NAME@sha256:...) has that for a name and stays. With --all images with a\n" +
			"name go, too. Pinned images stay in any case.",
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.images(cmd)
			if err != nil {
				return err
			}
			pruned, err := client.Prune(cmd.Context(), image.PruneOptions{Nameless: !all, UnusedFor: unused})
			if err != nil {
				return err
			}
			return c.print(output, pruned, func(io.Writer) {
				for _, i := range pruned.Removed {
					c.printImage(i)
				}
				fmt.Fprintf(c.Err, "removed %d images, freed %s\n", len(pruned.Removed), size(uint64(max(pruned.Freed, 0))))
			})
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "images with a name, too")
	cmd.Flags().DurationVar(&unused, "unused-for", 0, "only what was neither imported nor used for so long, such as 24h")
	outputFlag(cmd, &output)
	return cmd
}
