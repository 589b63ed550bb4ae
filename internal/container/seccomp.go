package container

import specs "github.com/opencontainers/runtime-spec/specs-go"

func defaultSeccomp(have []string) *specs.LinuxSeccomp { return nil }
