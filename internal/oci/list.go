package oci

import (
	"errors"
	"fmt"
	"os"
)

// List finds all containers below stateDir; what cannot be read is left out and named in the error.
func List(stateDir string) ([]*Container, error) {
	es, err := os.ReadDir(stateDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	var out []*Container
	var errs []error
	for _, e := range es {
		if !e.IsDir() || validID(e.Name()) != nil {
			continue
		}
		c, err := Load(stateDir, e.Name())
		switch {
		case err == nil:
			out = append(out, c)
		case !errors.Is(err, ErrNotFound): // being made or removed at this moment
			errs = append(errs, err)
		}
	}
	return out, errors.Join(errs...)
}
