package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func imageSave(c *command) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "save REF|ID... [-o FILE|-]",
		Short: "Write images into one archive that `docker load` and `skiff image import` take",
		Args:  someImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			if to == "-" && isTerminal(c.Out) {
				return usageError{errors.New("an archive is no text for a terminal: redirect it, or name a file with -o FILE")}
			}
			client, err := c.images(cmd)
			if err != nil {
				return err
			}
			written := c.countBytes()
			err = c.writeTo(to, func(w io.Writer) error {
				return client.Save(cmd.Context(), io.MultiWriter(w, written), args...)
			})
			if err != nil && len(args) == 1 {
				return missing(err, args[0])
			}
			if err != nil {
				return missingHere(err)
			}
			written.end(to)
			return nil
		},
	}
	cmd.Flags().StringVarP(&to, "output", "o", "-", "file to write, - for stdout")
	return cmd
}

func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// writeTo lets write fill a file, which is there whole or not at all, or
// stdout. What is there and no regular file (a pipe, a device) is written to.
func (c *command) writeTo(path string, write func(io.Writer) error) error {
	if path == "-" {
		return write(c.Out)
	}
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return usageError{fmt.Errorf("%s is a directory; name a file in it", path)}
	}
	if err == nil && !info.Mode().IsRegular() {
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("opening the archive: %w", err)
		}
		return errors.Join(write(file), file.Close())
	}
	// Mode 0600: an image may hold what is not for every user of the machine.
	file, err := os.CreateTemp(filepath.Dir(path), ".skiff-save-")
	if err != nil {
		return fmt.Errorf("making the archive: %w", err)
	}
	defer os.Remove(file.Name())
	if err := errors.Join(write(file), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return fmt.Errorf("naming the archive: %w", err)
	}
	return nil
}

// byteCount counts what is written, and shows it where stderr is a terminal.
type byteCount struct {
	to    io.Writer
	live  bool
	n     uint64
	shown time.Time
}

func (c *command) countBytes() *byteCount {
	return &byteCount{to: c.Err, live: isTerminal(c.Err)}
}

func (b *byteCount) Write(p []byte) (int, error) {
	b.n += uint64(len(p))
	// Ten times a second is what an eye can follow.
	if b.live && time.Since(b.shown) > 100*time.Millisecond {
		b.shown = time.Now()
		fmt.Fprintf(b.to, "\r%s\x1b[K", size(b.n))
	}
	return len(p), nil
}

func (b *byteCount) end(to string) {
	if b.live {
		fmt.Fprint(b.to, "\r\x1b[K")
	}
	if to != "-" {
		fmt.Fprintf(b.to, "wrote %s, %s\n", to, size(b.n))
	}
}
