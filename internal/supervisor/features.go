package supervisor

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec" //nolint:depguard // the programs that it runs are OCI runtimes which the administrator named
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// featuresTime is how long a runtime may think about what it can.
const featuresTime = 10 * time.Second

// MapsIDs asks another OCI runtime whether it can mount volumes with the ids of a user namespace (features.md, "Mount
// extensions"). It is nil if it says so, and else says what to do about it.
func MapsIDs(ctx context.Context, program string) error {
	name := filepath.Base(program)
	ctx, cancel := context.WithTimeout(ctx, featuresTime)
	defer cancel()
	var said strings.Builder
	cmd := exec.CommandContext(ctx, program, "features")
	cmd.Env, cmd.Stderr, cmd.WaitDelay = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, &said, time.Second
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return fmt.Errorf("`%s features` does not end: %w", name, ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("`%s features`: %w: %s", name, err, strings.TrimSpace(said.String()))
	}
	var f features.Features
	if err := json.Unmarshal(out, &f); err != nil {
		return fmt.Errorf("reading what `%s features` prints: %w", name, err)
	}
	if f.Linux == nil || f.Linux.MountExtensions == nil || f.Linux.MountExtensions.IDMap == nil || f.Linux.MountExtensions.IDMap.Enabled == nil || !*f.Linux.MountExtensions.IDMap.Enabled {
		return fmt.Errorf("`%s features` does not say linux.mountExtensions.idmap.enabled; a later release may", name)
	}
	return nil
}
