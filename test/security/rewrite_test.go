package security

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"go.skiff.dev/skiff/internal/oci"
)

// rewrite is what the hostile image runs (CVE-2019-5736): for as long as the
// file stop is missing it looks for a process whose program is not its own, and
// tries to open that for writing, through whatever path /proc offers. What it
// could open it overwrites, and says so.
func rewrite(stop string) int {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		fmt.Println("looking at myself:", err)
		return 1
	}
	shell, err := os.Stat("/bin/busybox")
	if err != nil {
		fmt.Println("looking at the image:", err)
		return 1
	}
	foreign := func(path string) bool { // no program of the image
		info, err := os.Stat(path)
		return err == nil && !os.SameFile(info, self) && !os.SameFile(info, shell)
	}
	fmt.Println("ready")
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); {
		if _, err := os.Stat(stop); err == nil {
			return 0
		}
		exes, _ := filepath.Glob("/proc/[0-9]*/exe")
		for _, exe := range exes {
			if !foreign(exe) {
				continue
			}
			// Held open, it can be written to once the process is gone.
			held, err := os.Open(exe)
			if err != nil {
				continue
			}
			fmt.Println("opened", exe)
			for _, path := range []string{exe, fmt.Sprintf("/proc/self/fd/%d", held.Fd())} {
				for range 1000 {
					if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
						_, err = f.WriteString("#!/bin/evil\n")
						fmt.Println("wrote to", path, err)
						f.Close()
						break
					}
				}
			}
			held.Close()
		}
	}
	return 1
}

// TestRuntimeIsNotRewritten: CVE-2019-5736. The container's first process tries
// to overwrite the program of whoever enters it, while that happens again and
// again.
func TestRuntimeIsNotRewritten(t *testing.T) {
	if f, err := elf.Open("/proc/self/exe"); err != nil || f.Section(".interp") != nil {
		t.Skip("the test is no static program: the image cannot run it without CGO_ENABLED=0")
	}
	program := func() [32]byte {
		self, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		return sha256.Sum256(self)
	}
	before := program()
	b := newBox(t, "")
	self, err := os.ReadFile("/proc/self/exe")
	b.must(err)
	// Another file than the host's, so that it can tell.
	b.must(os.WriteFile(filepath.Join(b.root, "bin/evil"), append(self, "evil"...), 0o755))
	b.spec.Process.Args = []string{"/bin/evil", "rewrite", "/stop"}
	b.must(b.start())
	said := func() []byte {
		data, err := os.ReadFile(b.out.Name())
		b.must(err)
		return data
	}
	for late := time.Now().Add(time.Minute); !bytes.Contains(said(), []byte("ready")); {
		if time.Now().After(late) {
			t.Fatalf("it does not run: %s", said())
		}
	}
	for range 20 {
		// The image's own program, and a link that names the one that enters.
		for _, args := range [][]string{{"true"}, {"/proc/self/exe", "init"}} {
			p := specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}, Capabilities: b.spec.Process.Capabilities}
			proc, err := b.c.Exec(t.Context(), oci.ExecOptions{Spec: &p})
			if err != nil {
				continue // refused is as good
			}
			if _, err := proc.Wait(); err != nil {
				t.Fatal(err)
			}
			proc.Close()
		}
	}
	b.must(os.WriteFile(filepath.Join(b.root, "stop"), nil, 0o600))
	st, err := b.c.Init.Wait()
	b.must(err)
	text := string(said())
	if st.Code != 0 || strings.Contains(text, "wrote to") && strings.Contains(text, "<nil>") {
		t.Errorf("the hostile program ended with %+v and said\n%s", st, text)
	}
	if program() != before {
		t.Error("the host's program changed")
	}
}
