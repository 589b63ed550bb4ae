package cgroup

import specs "github.com/opencontainers/runtime-spec/specs-go"

// Set applies limits.
func (m *Manager) Set(r *specs.LinuxResources) error { return nil }
