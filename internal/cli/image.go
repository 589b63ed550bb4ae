package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"

	"go.skiff.dev/skiff/internal/control"
	"go.skiff.dev/skiff/internal/image"
	"go.skiff.dev/skiff/internal/image/imageapi"
)

func imageVerb(c *command) *cobra.Command {
	cmd := &cobra.Command{
		Use: "image", Short: "Import, pull, save, look at and remove images",
		Args: cobra.ArbitraryArgs,
		RunE: chooseVerb("`import`, `pull`, `save`, `ls`, `inspect`, `history`, `tag`, `rm` or `prune`"),
	}
	cmd.AddCommand(
		imageImport(c), imagePull(c), imageSave(c), imageList(c), imageInspect(c), imageHistory(c),
		imageTag(c), imageRemove(c), imagePrune(c),
	)
	return cmd
}

// someImages wants one image or more.
func someImages(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usageError{fmt.Errorf("`%s` takes one image reference or more; see `%s --help`", cmd.CommandPath(), cmd.CommandPath())}
	}
	return nil
}

// missing says what to do about an image that is not there.
func missing(err error, ref string) error {
	if !errors.Is(err, image.ErrNotFound) {
		return err
	}
	return fmt.Errorf("%w; `skiff image ls` lists what is here, `skiff image pull %s` fetches it", err, ref)
}

// images is a client of the daemon's images.
func (c *command) images(cmd *cobra.Command) (*imageapi.Client, error) {
	cfg, _, err := c.load(nil)
	if err != nil {
		return nil, err
	}
	// One cheap question first, so that a skiff that does not run is named as such.
	if err := control.NewClient(cfg.ControlSocket()).Get(cmd.Context(), "/ping", nil, nil); err != nil {
		return nil, err
	}
	return imageapi.NewClient(cfg.ControlSocket()), nil
}

func imageImport(c *command) *cobra.Command {
	var opts imageapi.ImportOptions
	cmd := &cobra.Command{
		Use:   "import FILE|DIR|-",
		Short: "Import a docker-archive or an OCI layout from a file, a directory or stdin",
		Args:  exactly(1, "one file or directory, or - for stdin"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.images(cmd)
			if err != nil {
				return err
			}
			if isTerminal(c.Err) {
				opts.Progress = c.showProgress()
			}
			imported, err := client.Import(cmd.Context(), args[0], c.In, opts)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			for _, i := range imported {
				c.printImage(i)
				if len(i.Tags) == 0 {
					fmt.Fprintf(c.Err, "it has no name in the archive: import it with --as NAME, or give it one with `skiff image tag %s NAME`\n", shorten(i.ID))
				}
			}
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&opts.Names, "as", nil, "name to give to the image instead of those in the archive")
	cmd.Flags().StringVar(&opts.Platform, "platform", "", "platform to take out of the archive, such as linux/arm64")
	return cmd
}

// printImage prints the names of an image, or its id where it has none.
func (c *command) printImage(i image.Image) {
	names := i.Tags
	if len(names) == 0 {
		names = i.Digests
	}
	if len(names) == 0 {
		names = []string{i.ID}
	}
	for _, name := range names {
		fmt.Fprintln(c.Out, name)
	}
}

func imagePull(c *command) *cobra.Command {
	var opts image.PullOptions
	var user, passwordFile, platform string
	cmd := &cobra.Command{
		Use:   "pull REF",
		Short: "Pull an image from its registry",
		Args:  exactly(1, "one image reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := image.ParseReference(args[0]); err != nil {
				return usageError{err}
			}
			if err := credentials(&opts, user, passwordFile, c.In); err != nil {
				return err
			}
			client, err := c.images(cmd)
			if err != nil {
				return err
			}
			if isTerminal(c.Err) {
				opts.Progress = c.showProgress()
			}
			pulled, err := client.Pull(cmd.Context(), args[0], platform, opts)
			if err != nil {
				return err
			}
			c.printImage(pulled)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&user, "username", "", "user name at the registry")
	flags.StringVar(&passwordFile, "password-file", "", "file that holds the password, - for stdin")
	flags.BoolVar(&opts.PlainHTTP, "plain-http", false, "speak HTTP without TLS to the registry")
	flags.BoolVar(&opts.InsecureSkipVerify, "insecure-skip-verify", false, "accept any TLS certificate")
	flags.StringVar(&platform, "platform", "", "platform to take out of an index, such as linux/arm64")
	return cmd
}

// credentials reads the password from its file: on the command line every user
// of the machine could see it.
func credentials(opts *image.PullOptions, user, passwordFile string, stdin io.Reader) error {
	switch {
	case user == "" && passwordFile == "":
		return nil
	case user == "" || passwordFile == "":
		return usageError{errors.New("--username and --password-file go together")}
	}
	var data []byte
	var err error
	if passwordFile == "-" {
		data, err = io.ReadAll(io.LimitReader(stdin, 64<<10))
	} else {
		data, err = os.ReadFile(passwordFile)
	}
	if err != nil {
		return fmt.Errorf("reading the password: %w", err)
	}
	opts.Auth = image.Auth{Username: user, Password: strings.TrimRight(string(data), "\r\n")}
	return nil
}

// showProgress writes the progress of a pull or an import over one line of a terminal.
func (c *command) showProgress() func(image.Event) {
	return func(e image.Event) {
		switch {
		case (e.Action == "downloading" || e.Action == "unpacking") && e.Total > 0:
			fmt.Fprintf(c.Err, "\r%s %s of %s\x1b[K", layerLabel(e.Digest), size(uint64(e.Done)), size(uint64(e.Total)))
		case e.Action == "unpacking": // a docker-archive does not say how large its layers are
			fmt.Fprintf(c.Err, "\r%s %s\x1b[K", layerLabel(e.Digest), size(uint64(e.Done)))
		case e.Action == "image":
			fmt.Fprint(c.Err, "\r\x1b[K")
		}
	}
}

// layerLabel is the beginning of a layer's digest, or of its name in an archive. That is foreign text: it must not
// speak to the terminal.
func layerLabel(name string) string {
	if _, hex, ok := strings.Cut(name, ":"); ok {
		name = hex
	}
	name = path.Base(strings.TrimSuffix(name, "/layer.tar"))
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, name[:min(12, len(name))])
}

func shorten(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return hex[:min(12, len(hex))]
}

func imageList(c *command) *cobra.Command {
	var output string
	var quiet bool
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the images", Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.images(cmd)
			if err != nil {
				return err
			}
			list, err := client.List(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(output, list, func(w io.Writer) {
				if quiet {
					for _, i := range list {
						fmt.Fprintln(w, i.ID)
					}
					return
				}
				fmt.Fprintln(w, "IMAGE\tID\tSIZE\tAGE")
				for _, i := range list {
					showImage(w, i)
				}
			})
		},
	}
	outputFlag(cmd, &output)
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "ids only")
	return cmd
}

func showImage(w io.Writer, i image.Image) {
	names := i.Tags
	if len(names) == 0 {
		names = []string{"<none>"}
	}
	age := "-"
	if !i.Imported.IsZero() {
		age = duration.HumanDuration(time.Since(i.Imported))
	}
	for _, name := range names {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", name, shorten(i.ID), size(uint64(i.Size)), age)
	}
}
