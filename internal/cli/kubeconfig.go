package cli

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"
	api "k8s.io/client-go/tools/clientcmd/api"

	"go.skiff.dev/skiff/internal/config"
	"go.skiff.dev/skiff/internal/daemon"
)

func kubeconfigVerb(c *command) *cobra.Command {
	var merge bool
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the administrator's kubeconfig, or merge it into your own",
		Args:  exactly(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			cfg, _, err := c.load(nil)
			if err != nil {
				return err
			}
			data, err := os.ReadFile(cfg.Kubeconfig)
			switch {
			case errors.Is(err, os.ErrNotExist):
				return fmt.Errorf("there is no kubeconfig at %s; `skiff up` writes it", cfg.Kubeconfig)
			case errors.Is(err, os.ErrPermission):
				return fmt.Errorf("no permission to read %s; run this as root", cfg.Kubeconfig)
			case err != nil:
				return err
			}
			if merge {
				return c.mergeKubeconfig(cfg, data)
			}
			_, err = c.Out.Write(data)
			return err
		},
	}
	cmd.Flags().BoolVar(&merge, "merge", false, "add a context for this cluster to your own kubeconfig and make it the current one")
	return cmd
}

// mergeKubeconfig adds one context, named after the skiff, to the caller's own
// kubeconfig. Entries of other names stay as they are.
func (c *command) mergeKubeconfig(cfg config.Config, data []byte) error {
	ours, err := clientcmd.Load(data)
	if err != nil {
		return fmt.Errorf("reading %s: %w", cfg.Kubeconfig, err)
	}
	path, owner, err := ownKubeconfig()
	if err != nil {
		return err
	}
	theirs, err := clientcmd.LoadFromFile(path)
	if errors.Is(err, os.ErrNotExist) {
		theirs, err = api.NewConfig(), nil
	}
	if err != nil {
		return fmt.Errorf("reading your kubeconfig %s: %w; nothing was changed", path, err)
	}
	name := cfg.TableName()
	context := ours.Contexts[ours.CurrentContext]
	if context == nil {
		return fmt.Errorf("%s names no current context", cfg.Kubeconfig)
	}
	theirs.Clusters[name] = ours.Clusters[context.Cluster]
	theirs.AuthInfos[name] = ours.AuthInfos[context.AuthInfo]
	theirs.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name}
	theirs.CurrentContext = name
	// Noted first: a purge must know of every file that may hold the context.
	if err := daemon.NoteMerged(cfg, path); err != nil {
		return err
	}
	if err := clientcmd.WriteToFile(*theirs, path); err != nil {
		return fmt.Errorf("writing your kubeconfig: %w", err)
	}
	if owner != nil {
		if err := giveTo(owner, filepath.Dir(path), path); err != nil {
			return err
		}
	}
	fmt.Fprintf(c.Err, "context %q is now the current one in %s\n", name, path)
	return nil
}

// ownKubeconfig is the file of the person who calls: the first of KUBECONFIG,
// or .kube/config in the home directory; under sudo, of the user who called sudo.
func ownKubeconfig() (string, *user.User, error) {
	if list := os.Getenv("KUBECONFIG"); list != "" {
		return strings.Split(list, string(os.PathListSeparator))[0], nil, nil
	}
	if name := os.Getenv("SUDO_USER"); name != "" && os.Geteuid() == 0 {
		u, err := user.Lookup(name)
		if err != nil {
			return "", nil, fmt.Errorf("looking up the user who called sudo: %w", err)
		}
		return filepath.Join(u.HomeDir, ".kube", "config"), u, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", nil, fmt.Errorf("finding your home directory: %w; set KUBECONFIG", err)
	}
	return filepath.Join(home, ".kube", "config"), nil, nil
}

func giveTo(owner *user.User, paths ...string) error {
	uid, errUID := strconv.Atoi(owner.Uid)
	gid, errGID := strconv.Atoi(owner.Gid)
	if err := errors.Join(errUID, errGID); err != nil {
		return fmt.Errorf("reading the ids of %s: %w", owner.Username, err)
	}
	for _, p := range paths {
		if err := os.Lchown(p, uid, gid); err != nil {
			return fmt.Errorf("giving %s to %s: %w", p, owner.Username, err)
		}
	}
	return nil
}
