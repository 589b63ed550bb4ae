package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.skiff.dev/skiff/internal/config"
	"go.skiff.dev/skiff/internal/kernel/durable"
)

// rememberedIn is where a running skiff notes what it was started with, so that
// `skiff down --purge` knows every place without being told again.
func rememberedIn(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "config.json") }

func remember(cfg *config.Config) error {
	data, err := json.MarshalIndent(cfg, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the configuration: %w", err)
	}
	return durable.WriteFile(rememberedIn(cfg), data, 0o600)
}

// recall returns what the skiff in cfg's data directory was last started with,
// or cfg where that is not known.
func recall(cfg config.Config) (config.Config, error) {
	data, err := os.ReadFile(rememberedIn(&cfg))
	if errors.Is(err, os.ErrNotExist) {
		return cfg, nil
	}
	if err != nil {
		return cfg, fmt.Errorf("reading what this skiff was started with: %w", err)
	}
	last := cfg
	if err := json.Unmarshal(data, &last); err != nil || last.Name != cfg.Name {
		// A damaged note must not stand in the way of a purge.
		return cfg, nil
	}
	last.DataDir, last.RunDir = cfg.DataDir, cfg.RunDir
	return last, nil
}
