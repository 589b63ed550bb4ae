package main

import (
	"fmt"
	"strings"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
)

// subCgroups reads the values of `exec --cgroup`, each [controller[,controller...]:]path. A path without controllers is
// for all of them and stands alone. Given or not makes a difference: a process with a place of its own goes nowhere else.
func subCgroups(values []string) (cgroup.Sub, error) {
	if len(values) == 0 {
		return nil, nil
	}
	sub := cgroup.Sub{}
	for _, v := range values {
		list, path, named := strings.Cut(v, ":")
		if !named {
			if len(values) != 1 {
				return nil, fmt.Errorf("invalid --cgroup argument: %s (missing <controller>: prefix)", v)
			}
			sub[""] = v
			continue
		}
		for c := range strings.SplitSeq(list, ",") {
			if c == "" {
				return nil, fmt.Errorf("invalid --cgroup argument: %s (empty <controller> prefix)", v)
			}
			if _, again := sub[c]; again {
				return nil, fmt.Errorf("invalid --cgroup argument(s): controller %s specified multiple times", c)
			}
			sub[c] = path
		}
	}
	return sub, nil
}
