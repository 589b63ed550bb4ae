package cli

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"go.skiff.dev/skiff/internal/config"
	"go.skiff.dev/skiff/internal/control"
	"go.skiff.dev/skiff/internal/daemon"
)

func upVerb(c *command) *cobra.Command {
	var detach bool
	var progressFD int
	values := map[string]*string{}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the cluster on this machine",
		Long: "Start the cluster on this machine: in the foreground, or with --detach in the background, returning when the node is Ready.\n" +
			"Pods go on when skiff ends; `skiff down` stops them.",
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			extra := map[string]string{}
			for name, value := range values {
				if cmd.Flags().Changed(name) {
					extra[name] = *value
				}
			}
			cfg, given, err := c.load(extra)
			if err != nil {
				return err
			}
			if os.Geteuid() != 0 {
				return fmt.Errorf("`skiff up` needs root: it makes namespaces, cgroups and network links; run `sudo skiff up`")
			}
			if running, err := alreadyRunning(cmd, cfg); running || err != nil {
				return c.sayRunning(cfg, detach, err)
			}
			if detach {
				return c.detach(cmd.Context(), cfg)
			}
			return c.foreground(cmd, cfg, given, progressFD)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&detach, "detach", "d", false, "run in the background and return when the node is Ready")
	flags.IntVar(&progressFD, "progress-fd", 0, "file descriptor to write progress to")
	// The error is that there is no such flag, and it stands one line above.
	_ = flags.MarkHidden("progress-fd")
	for _, o := range config.Options() {
		if !o.Place {
			base := config.Default(config.DefaultName)
			values[o.Name] = flags.String(o.Name, o.Get(&base), o.Usage)
		}
	}
	return cmd
}

func alreadyRunning(cmd *cobra.Command, cfg config.Config) (bool, error) {
	var status control.Status
	err := control.NewClient(cfg.ControlSocket()).Get(cmd.Context(), "/status", nil, &status)
	if errors.Is(err, control.ErrNotRunning) {
		return false, nil
	}
	return err == nil, err
}

func (c *command) sayRunning(cfg config.Config, detach bool, err error) error {
	if err != nil {
		return fmt.Errorf("asking the skiff that runs already: %w", err)
	}
	fmt.Fprintf(c.Err, "skiff %q is already running; kubeconfig: %s\n", cfg.Name, cfg.Kubeconfig)
	if detach {
		return nil
	}
	return exitError(exitFailure)
}

// foreground runs the daemon in this process until a signal.
func (c *command) foreground(cmd *cobra.Command, cfg config.Config, given map[string]bool, progressFD int) error {
	report := c.printProgress
	if progressFD > 0 {
		pipe := os.NewFile(uintptr(progressFD), "progress")
		defer pipe.Close()
		report = writeProgress(pipe)
	}
	err := daemon.Run(cmd.Context(), daemon.Options{Config: cfg, Given: given, Report: report, Log: c.Err})
	if err != nil {
		report(daemon.Progress{Error: err.Error()})
		if progressFD > 0 {
			return exitError(exitFailure)
		}
		return exitError(exitFailure)
	}
	fmt.Fprintln(c.Err, "skiff has ended; pods that ran go on, unless `skiff down` stopped them")
	return nil
}

// printProgress shows progress to a person.
func (c *command) printProgress(p daemon.Progress) {
	switch {
	case p.Error != "":
		fmt.Fprintln(c.Err, "skiff:", p.Error)
	case p.Ready:
		fmt.Fprintf(c.Err, "node %s is Ready after %s\nkubeconfig: %s\n", p.Node, round(p.At), p.Kubeconfig)
	case p.Warning != "":
		fmt.Fprintln(c.Err, "warning:", p.Warning)
	default:
		fmt.Fprintf(c.Err, "  %-14s %8s\n", p.Stage, round(p.Took))
	}
}

func round(d time.Duration) time.Duration {
	return d.Round(100 * time.Microsecond)
}
