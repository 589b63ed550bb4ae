package cli

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	basecli "k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
)

func kubectlVerb(c *command) *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl [flags of skiff] COMMAND ...",
		Short:              "Run the kubectl that skiff carries against this cluster",
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			rest, err := c.takePlaceFlags(args)
			if err != nil {
				return err
			}
			cfg, _, err := c.load(nil)
			if err != nil {
				return err
			}
			// kubectl cares for its signals itself; where it does not, they end
			// it, and it would never look at the context of skiff's verbs.
			signal.Reset(os.Interrupt, syscall.SIGTERM)
			return c.kubectl(cfg.Kubeconfig, rest)
		},
	}
}

// asKubectl runs when the binary is called through a symlink named kubectl.
// Like the real one it honours KUBECONFIG; without it, this cluster is meant.
func (c *command) asKubectl(args []string) int {
	c.name = envOr("SKIFF_NAME", "")
	c.file = os.Getenv("SKIFF_CONFIG")
	kubeconfig := ""
	if os.Getenv("KUBECONFIG") == "" {
		cfg, _, err := c.load(nil)
		if err != nil {
			return c.exitCode(err)
		}
		kubeconfig = cfg.Kubeconfig
	}
	return c.exitCode(c.kubectl(kubeconfig, args))
}

// kubectl runs the embedded kubectl. kubeconfig is the file it uses unless its
// own --kubeconfig names another; empty leaves the choice to kubectl.
func (c *command) kubectl(kubeconfig string, args []string) error {
	flags := genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag().WithDiscoveryBurst(300).WithDiscoveryQPS(50.0)
	if kubeconfig != "" {
		flags.KubeConfig = &kubeconfig
	}
	// Plugins and completion of kubectl look at the program's own arguments.
	os.Args = append([]string{"kubectl"}, args...)
	cmd := kubectl.NewDefaultKubectlCommandWithArgs(kubectl.KubectlOptions{
		PluginHandler: kubectl.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes),
		Arguments:     os.Args,
		ConfigFlags:   flags,
		IOStreams:     genericiooptions.IOStreams{In: c.In, Out: c.Out, ErrOut: c.Err},
	})
	cmd.SetArgs(args)
	// As kubectl's own main does: it adds the flags of the log (-v).
	if err := basecli.RunNoErrOutput(cmd); err != nil {
		// CheckErr prints the message as kubectl does and ends the process
		// with kubectl's own exit code.
		kubectlutil.CheckErr(err)
	}
	return nil
}

// takePlaceFlags takes the flags that say which skiff is meant from the front
// of args; what follows is kubectl's.
func (c *command) takePlaceFlags(args []string) ([]string, error) {
	for len(args) > 0 {
		name, value, inline := strings.Cut(strings.TrimPrefix(args[0], "--"), "=")
		target := c.placeFlag(name)
		if !strings.HasPrefix(args[0], "--") || target == nil {
			return args, nil
		}
		args = args[1:]
		if !inline {
			if len(args) == 0 {
				return nil, usageError{fmt.Errorf("flag --%s needs a value", name)}
			}
			value, args = args[0], args[1:]
		}
		*target = value
	}
	return args, nil
}

func (c *command) placeFlag(name string) *string {
	switch name {
	case "name":
		return &c.name
	case "config":
		return &c.file
	}
	return c.place[name]
}
