package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/client-go/tools/clientcmd"

	"go.skiff.dev/skiff/internal/config"
	"go.skiff.dev/skiff/internal/kernel/durable"
)

// mergedIn lists, one path a line, the kubeconfigs of people into which
// `skiff kubeconfig --merge` wrote a context.
func mergedIn(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "merged-kubeconfigs") }

// NoteMerged remembers that a kubeconfig holds a context of this skiff.
func NoteMerged(cfg config.Config, path string) error {
	paths, err := merged(&cfg)
	if err != nil || slices.Contains(paths, path) {
		return err
	}
	return durable.WriteFile(mergedIn(&cfg), []byte(strings.Join(append(paths, path), "\n")+"\n"), 0o600)
}

func merged(cfg *config.Config) ([]string, error) {
	data, err := os.ReadFile(mergedIn(cfg))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading which kubeconfigs hold our context: %w", err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n"), nil
}

// purgeMerged takes our context out of the kubeconfigs that it was merged into.
// What else they hold stays; a file that is gone or broken is its owner's matter.
func purgeMerged(_ context.Context, cfg *config.Config) error {
	paths, err := merged(cfg)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := forget(path, cfg.TableName()); err != nil {
			return err
		}
	}
	return nil
}

func forget(path, name string) error {
	theirs, err := clientcmd.LoadFromFile(path)
	if err != nil || theirs.Contexts[name] == nil {
		return nil
	}
	before, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("looking at %s: %w", path, err)
	}
	delete(theirs.Clusters, name)
	delete(theirs.AuthInfos, name)
	delete(theirs.Contexts, name)
	if theirs.CurrentContext == name {
		theirs.CurrentContext = ""
	}
	if err := clientcmd.WriteToFile(*theirs, path); err != nil {
		return fmt.Errorf("taking the context %q out of %s: %w", name, path, err)
	}
	return os.Chmod(path, before.Mode())
}
