package oci

import (
	"context"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func (c *Container) runHooks(ctx context.Context, hooks []specs.Hook) error { return nil }
func (c *Container) poststart(ctx context.Context) error                    { return nil }
func (c *Container) poststop() error                                        { return nil }
func createRuntimeHooks(s *specs.Spec) []specs.Hook                         { return nil }
func (cr *creation) planDevices() error                                     { return nil }
