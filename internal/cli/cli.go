// Package cli is the command line: one file per verb. It reads flags, asks the
// daemon or the API server, and prints. Results go to stdout, progress and
// errors to stderr. Exit codes: 0 done, 1 it did not work, 2 the command line
// was wrong.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"go.skiff.dev/skiff/internal/config"
	"go.skiff.dev/skiff/internal/control"
)

// The exit codes of skiff.
const (
	exitOK = iota
	exitFailure
	exitUsage
)

// Streams are the standard streams of the command.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// command is what every verb is given.
type command struct {
	Streams
	args []string
	// place holds the flags that say which skiff is meant, by option name.
	place map[string]*string
	name  string
	file  string
}

// verbs lists the verbs in the order in which help shows them.
func verbs(c *command) []*cobra.Command {
	return []*cobra.Command{
		upVerb(c),
		statusVerb(c),
		downVerb(c),
		kubectlVerb(c),
		kubeconfigVerb(c),
		imageVerb(c),
		anatomyVerb(c),
		inspectVerb(c),
		ociVerb(c),
		versionVerb(c),
	}
}

// Run runs the command line args (args[0] is the program's name) and returns
// the exit code. Called through a symlink named kubectl it is kubectl.
func Run(args []string, streams Streams) int {
	c := &command{Streams: streams, args: args, place: map[string]*string{}}
	if filepath.Base(args[0]) == "kubectl" {
		return c.asKubectl(args[1:])
	}
	root := c.root()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return c.exitCode(root.ExecuteContext(ctx))
}

func (c *command) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "skiff",
		Short:         "Kubernetes in one small boat",
		Long:          "skiff turns this machine into a Kubernetes cluster in about a second.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetArgs(c.args[1:])
	root.SetIn(c.In)
	root.SetOut(c.Out)
	root.SetErr(c.Err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())}
	})
	flags := root.PersistentFlags()
	flags.StringVar(&c.name, "name", envOr("SKIFF_NAME", config.DefaultName), "which skiff on this machine is meant")
	flags.StringVar(&c.file, "config", os.Getenv("SKIFF_CONFIG"), "configuration file (default "+config.File(config.DefaultName)+")")
	for _, o := range config.Options() {
		if o.Place {
			c.place[o.Name] = flags.String(o.Name, "", o.Usage)
		}
	}
	root.AddCommand(verbs(c)...)
	return root
}

// usageError is an error of the command line itself.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitError carries an exit code without a message of its own.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func (c *command) exitCode(err error) int {
	var usage usageError
	var exit exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		return int(exit)
	case errors.As(err, &usage), strings.HasPrefix(err.Error(), "unknown command"), strings.HasPrefix(err.Error(), "unknown flag"):
		fmt.Fprintln(c.Err, "skiff:", err)
		return exitUsage
	}
	fmt.Fprintln(c.Err, "skiff:", err)
	return exitFailure
}

// exactly is cobra.ExactArgs with skiff's exit code.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{fmt.Errorf("`%s` takes %s; see `%s --help`", cmd.CommandPath(), what, cmd.CommandPath())}
		}
		return nil
	}
}

// chooseVerb is what a verb does that has only verbs of its own.
func chooseVerb(choices string) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return usageError{fmt.Errorf("`%s %s` is not known, use %s; see `%s --help`", cmd.CommandPath(), args[0], choices, cmd.CommandPath())}
	}
}

// load reads the configuration with the place flags and extra flags given.
func (c *command) load(extra map[string]string) (config.Config, map[string]bool, error) {
	flags := map[string]string{}
	for name, value := range c.place {
		if *value != "" {
			flags[name] = *value
		}
	}
	maps.Copy(flags, extra)
	cfg, given, err := config.Load(config.Source{Name: c.name, File: c.file, Environ: os.Environ(), Flags: flags})
	if err != nil {
		return cfg, given, usageError{err}
	}
	return cfg, given, nil
}

// daemon is a client of the running daemon.
func (c *command) daemon() (*control.Client, error) {
	cfg, _, err := c.load(nil)
	if err != nil {
		return nil, err
	}
	return control.NewClient(cfg.ControlSocket()), nil
}

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}
