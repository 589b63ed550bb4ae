package vm

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.skiff.dev/skiff/test/e2e/cluster"
	"go.skiff.dev/skiff/test/testimage"
	"go.skiff.dev/skiff/test/vm/emulator"
	"go.skiff.dev/skiff/test/vm/plan"
)

// archives puts the images onto the disk: busybox below, a file of random bytes
// on top.
func archives(t *testing.T, m emulator.Machine) (sums []string) {
	t.Helper()
	busybox, err := testimage.Busybox()
	if err != nil {
		t.Fatal(err)
	}
	for n := range plan.CutImages {
		data := make([]byte, 6<<20)
		rng := rand.NewChaCha8([32]byte{byte(n)})
		_, _ = rng.Read(data) // it does not fail
		sums = append(sums, fmt.Sprintf("%x", sha256.Sum256(data)))
		img := busybox
		img.Names = []string{plan.CutImage(n)}
		img.Layers = append(img.Layers[:1:1], testimage.Layer{testimage.File("data", 0o644, data)})
		file, err := os.Create(filepath.Join(m.Dir, "archive"))
		if err == nil {
			err = errors.Join(img.WriteDockerArchive(file), file.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		put(t, m, file.Name(), plan.CutArchive(n))
	}
	return sums
}

// TestPowerCut cuts the power of a machine on which images are imported and
// objects made, and boots it again from the same disk. What was acknowledged is
// there; an image is whole or absent; pods run again.
//
// The emulator is killed: what the machine has written to its disk is there,
// what its kernel held back is not.
func TestPowerCut(t *testing.T) {
	wanted(t)
	m := machine(t, needed)
	put(t, m, cluster.Root()+"/bin/skiff", "/bin/skiff")
	state := plan.Cut{Sums: archives(t, m)}
	s := suite{path: "test/vm/cut"}
	step := s.step(t, m, stepLimit)
	for i, instant := range []struct {
		line  string // cut at the first line that begins so
		after time.Duration
	}{
		{"importing 1", 300 * time.Millisecond}, // while it is read
		{"image 3", 0},                          // just acknowledged
		{},                                      // never
	} {
		state.Last = instant.line == ""
		text, err := json.Marshal(state)
		if err != nil {
			t.Fatal(err)
		}
		step.Env = []string{plan.CutVariable + "=" + string(text)}
		m.Steps = []plan.Step{step}
		name := fmt.Sprintf("boot %d", i+1)
		if state.Last {
			t.Run(name, func(t *testing.T) { run(t, m, stepLimit, tell) })
			break
		}
		t.Run(name, func(t *testing.T) { cut(t, m, instant.line, instant.after, &state) })
		if t.Failed() {
			return
		}
		t.Logf("acknowledged until the cut: %d objects, images %v", state.Objects, state.Images)
	}
	if state.Objects < 2 || len(state.Images) < 2 {
		t.Errorf("too little was acknowledged to say anything: %+v", state)
	}
}

// cut boots the machine, notes what it acknowledges, and kills it a while
// after it said a line.
func cut(t *testing.T, m emulator.Machine, line string, after time.Duration, state *plan.Cut) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stepLimit)
	defer cancel()
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- m.Run(ctx, writer)
		_ = writer.Close()
	}()
	var all strings.Builder
	reached := false
	for lines := bufio.NewScanner(reader); lines.Scan(); {
		fmt.Fprintln(&all, lines.Text())
		_, said, ok := strings.Cut(lines.Text(), plan.CutMark)
		if !ok {
			continue
		}
		var n int
		if _, err := fmt.Sscanf(said, "object %d", &n); err == nil {
			state.Objects = n + 1
		} else if _, err := fmt.Sscanf(said, "image %d", &n); err == nil {
			state.Images = append(state.Images, n)
		}
		if said == line && !reached {
			reached = true
			time.AfterFunc(after, cancel)
		}
	}
	err := <-ended
	if !reached {
		t.Fatalf("the machine never said %q: %v\n%s", line, err, last(all.String(), 32<<10))
	}
}
