package oci

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// hooked is a box whose hooks of every kind write a line of a log: their name, and the status and pid they were told.
func hooked(t *testing.T) (b *box, log string) {
	b = newBox(t, "echo main >> /log")
	must(t, os.WriteFile(b.root+"/log", nil, 0o666))
	log = b.root + "/log"
	tell := func(name, file string) []specs.Hook {
		script := `s=$(cat); echo ` + name + ` $(echo "$s" | grep -o '"status":"[a-z]*"') $(echo "$s" | grep -o '"pid":1[,}]') $X >> ` + file
		return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", script}}}
	}
	b.spec.Process.Env = append(b.spec.Process.Env, "X=x")
	b.spec.Hooks = &specs.Hooks{CreateRuntime: tell("createRuntime", log), CreateContainer: tell("createContainer", log),
		StartContainer: tell("startContainer", "/log"), Poststart: tell("poststart", log), Poststop: tell("poststop", log)}
	return b, log
}

func TestHooks(t *testing.T) {
	b, log := hooked(t)
	must(t, b.create())
	must(t, b.c.Start(context.Background()))
	if _, err := b.c.Init.Wait(); err != nil {
		t.Fatal(err)
	}
	must(t, b.c.Delete(false))
	b.clean()
	got, err := os.ReadFile(log)
	must(t, err)
	text := strings.Replace(string(got), "main\n", "", 1) // beside poststart
	want := "createRuntime \"status\":\"creating\"\ncreateContainer \"status\":\"creating\" \"pid\":1,\n" +
		"startContainer \"status\":\"created\" \"pid\":1, x\npoststart \"status\":\"running\"\npoststop \"status\":\"stopped\"\n"
	if text != want || text == string(got) {
		t.Errorf("hooks wrote %q, want %q", got, want)
	}
}

// TestFailingHooks lets the second hook of each kind fail.
func TestFailingHooks(t *testing.T) {
	for kind, stopped := range map[string]bool{"createRuntime": true, "createContainer": true, "startContainer": false, "poststart": true, "poststop": true} {
		t.Run(kind, func(t *testing.T) {
			b, log := hooked(t)
			bad := specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", "echo reason; exit 4"}}
			for name, list := range map[string]*[]specs.Hook{"createRuntime": &b.spec.Hooks.CreateRuntime, "createContainer": &b.spec.Hooks.CreateContainer,
				"startContainer": &b.spec.Hooks.StartContainer, "poststart": &b.spec.Hooks.Poststart, "poststop": &b.spec.Hooks.Poststop} {
				if name == kind {
					*list = append(*list, bad)
				}
			}
			want := "error running " + kind + " hook #1: hook \"/bin/sh\": exit status 4, output: reason"
			err := b.create()
			if err == nil {
				err = b.c.Start(context.Background())
			}
			if kind == "poststop" {
				must(t, err)
				must(t, b.c.Delete(true))
				err = errors.New(strings.Join(b.warns, ""))
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q", err, want)
			}
			if kind != "startContainer" {
				if b.c != nil {
					_, _ = b.c.Init.Wait() // it was killed: a child is its parent's to reap
				}
				b.clean()
			}
			if got, _ := os.ReadFile(log); strings.Contains(string(got), "poststop") != stopped {
				t.Errorf("hooks wrote %q", got)
			}
		})
	}
}

// TestExecTakesTheContainersLimits gives a further process no more than the container has when its description leaves
// things out, and refuses what would leave it root.
func TestExecTakesTheContainersLimits(t *testing.T) {
	b := newBox(t, "sleep 1000")
	b.spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 77, Hard: 88}}
	b.start()
	bare := &specs.Process{Cwd: "/", Env: b.spec.Process.Env, Args: []string{"sh", "-c", "grep CapEff /proc/self/status; ulimit -n"}}
	if _, err := b.exec(ExecOptions{Spec: bare}); err != nil {
		t.Fatal(err)
	}
	own := *b.spec.Process
	own.Args = bare.Args
	if _, err := b.exec(ExecOptions{Spec: &own}); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(b.output(), "\n"); len(lines) != 4 || lines[0] != lines[2] || lines[1] != "77" {
		t.Errorf("printed %q", lines)
	}
	bad := own
	bad.User.UID = 1<<32 - 1
	if _, err := b.exec(ExecOptions{Spec: &bad}); err == nil || !strings.Contains(err.Error(), "process.user: 4294967295 is not an id") {
		t.Errorf("an exec as user 4294967295: %v", err)
	}
}

// TestKillReachesAll ends what a container without a pid namespace of its own left behind.
func TestKillReachesAll(t *testing.T) {
	b := newBox(t, "sleep 1000 & exec sleep 1000")
	b.spec.Linux.Namespaces = deleteNamespace(b.spec.Linux.Namespaces, specs.PIDNamespace)
	c := b.start()
	waitFor(t, "both processes", func() bool { pids, _ := c.Pids(); return len(pids) == 2 })
	must(t, c.Kill(9, false))
	if st, err := c.Init.Wait(); err != nil || st.Signal != 9 {
		t.Errorf("init: %+v %v", st, err)
	}
	waitFor(t, "the end of all", func() bool { pids, _ := c.Pids(); return len(pids) == 0 })
}

func deleteNamespace(list []specs.LinuxNamespace, kind specs.LinuxNamespaceType) []specs.LinuxNamespace {
	var out []specs.LinuxNamespace
	for _, ns := range list {
		if ns.Type != kind {
			out = append(out, ns)
		}
	}
	return out
}
