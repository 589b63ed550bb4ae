// Command cri runs the CRI validation suite of sigs.k8s.io/cri-tools against a
// skiff of its own, from outside, over cri.sock:
//
//	go run ./test/cri [-- FLAGS OF CRITEST]
//
// The suite is built from its module, unchanged but for one constant: the
// digest of an image that only its own registry has. Its images are made of
// Debian's programs and come from a registry on loopback, which skiff takes as
// the mirror of those that the suite names.
package main

import (
	"archive/tar"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

const name = "critest"

func owned(name string, uid int) tar.Header {
	return tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755, Uid: uid, Gid: uid}
}

var binary string

func main() {
	keep := flag.Bool("keep", false, "leave skiff and the registry until a signal comes")
	flag.StringVar(&binary, "skiff", "bin/skiff", "the skiff to judge")
	built := flag.String("suite", "", "a critest that was built before")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *built, *keep, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "cri:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, built string, keep bool, args []string) error {
	dir, err := os.MkdirTemp("", "skiff-critest-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	images, named, err := serve(dir)
	if err != nil {
		return err
	}
	defer images.Close()
	if built == "" {
		built = filepath.Join(dir, "critest")
		if err := build(ctx, dir, built, named); err != nil {
			return err
		}
	}
	if err := start(ctx, dir, images.URL); err != nil {
		return err
	}
	defer func() {
		if err := purge(dir); err != nil {
			fmt.Fprintln(os.Stderr, "cri:", err)
		}
	}()
	socket := "unix://" + filepath.Join(dir, "run", "cri.sock")
	fmt.Println("skiff serves", socket)
	cmd := exec.CommandContext(ctx, built, append([]string{"-runtime-endpoint", socket}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	err = cmd.Run()
	if keep {
		<-ctx.Done()
	}
	return err
}

func skiff(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command(binary, append(args, "--name", name, "--data-dir", dir+"/data", "--run-dir", dir+"/run")...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd
}

// start starts skiff with the registry in place of those that the suite names.
func start(ctx context.Context, dir, registry string) error {
	var mirrors strings.Builder
	mirrors.WriteString("mirrors:\n")
	for _, host := range []string{"registry.k8s.io", "k8s.gcr.io", "gcr.io"} {
		fmt.Fprintf(&mirrors, "  %s:\n    endpoint: [%s]\n", host, registry)
	}
	settings := filepath.Join(dir, "registries.yaml")
	if err := os.WriteFile(settings, []byte(mirrors.String()), 0o600); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// For -runtime-handler crun.
	err := skiff(dir, "up", "--detach", "--log-dir", dir+"/log", "--kubeconfig", dir+"/kubeconfig.yaml", "--runtime-handlers", "crun=/usr/bin/crun",
		"--api-port", "16443", "--kubelet-port", "20250", "--registries", settings).Run()
	if err != nil {
		return errors.Join(fmt.Errorf("starting skiff: %w", err), purge(dir))
	}
	return nil
}

func purge(dir string) error {
	if err := skiff(dir, "down", "--purge").Run(); err != nil {
		return fmt.Errorf("removing skiff: %w", err)
	}
	return nil
}
