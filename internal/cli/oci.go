package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"go.skiff.dev/skiff/internal/ocibin"
)

func ociVerb(c *command) *cobra.Command {
	return &cobra.Command{
		Use:                "oci [--install DIR | COMMAND ...]",
		Short:              "Run the OCI runtime that skiff carries, or write it out",
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			program, err := ocibin.Open()
			if err != nil {
				return err
			}
			defer program.Close()
			if len(args) > 0 && args[0] == "--install" {
				if len(args) != 2 {
					return usageError{errors.New("`skiff oci --install` takes a directory")}
				}
				return c.installOCI(program, args[1])
			}
			err = syscall.Exec(fmt.Sprintf("/proc/self/fd/%d", program.Fd()), append([]string{"skiff-oci"}, args...), os.Environ())
			return fmt.Errorf("running skiff-oci: %w", err)
		},
	}
}

// installOCI writes the runtime as DIR/skiff-oci.
func (c *command) installOCI(program io.ReadSeeker, dir string) error {
	if _, err := program.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("reading skiff-oci: %w", err)
	}
	target := filepath.Join(dir, "skiff-oci")
	file, err := os.OpenFile(target+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return fmt.Errorf("installing skiff-oci: %w", err)
	}
	_, err = io.Copy(file, program)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(fmt.Errorf("installing skiff-oci: %w", err), os.Remove(target+".new"))
	}
	if err := os.Rename(target+".new", target); err != nil {
		return fmt.Errorf("installing skiff-oci: %w", err)
	}
	fmt.Fprintln(c.Out, target)
	return nil
}
