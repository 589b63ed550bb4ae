package nodeapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// logReader reads one log from its file, across rotations.
type logReader struct {
	file    *os.File
	path    string
	options LogOptions
	out     io.Writer

	rest    []byte // the piece of a line whose end is not written yet
	inLine  bool   // the last piece written was partial: the next continues it
	written int64
}

func (r *logReader) close() { _ = r.file.Close() } // it was only read

func (r *logReader) full() bool { return r.options.Limit >= 0 && r.written >= r.options.Limit }

// seek goes to where the wanted number of last lines begins.
func (r *logReader) seek() error {
	if r.options.Tail < 0 {
		return nil
	}
	end, err := r.file.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("reading log: %w", err)
	}
	start, err := tailStart(r.file, end, r.options.Tail)
	if err != nil {
		return fmt.Errorf("reading log: %w", err)
	}
	_, err = r.file.Seek(start, io.SeekStart)
	return err
}

// tailStart finds where the last n lines of a file begin, reading backwards.
func tailStart(f io.ReaderAt, end, n int64) (int64, error) {
	if n == 0 {
		return end, nil
	}
	const block = 16 << 10
	buf := make([]byte, block)
	found := int64(-1) // the newline that ends the last line does not count
	for at := end; at > 0; {
		size := min(at, block)
		at -= size
		if _, err := f.ReadAt(buf[:size], at); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		for i := size - 1; i >= 0; i-- {
			if buf[i] != '\n' {
				if found < 0 {
					found = 0 // the file ends within a line
				}
				continue
			}
			if found++; found == n {
				return at + i + 1, nil
			}
		}
	}
	return 0, nil
}

// drain writes what the file has.
func (r *logReader) drain() error {
	buf := make([]byte, 32<<10)
	for !r.full() {
		n, err := r.file.Read(buf)
		if n > 0 {
			if err := r.take(buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading log: %w", err)
		}
	}
	return nil
}

// take splits bytes into lines and writes the complete ones.
func (r *logReader) take(p []byte) error {
	r.rest = append(r.rest, p...)
	for {
		end := bytes.IndexByte(r.rest, '\n')
		if end < 0 {
			return nil
		}
		line := r.rest[:end]
		if err := r.line(line); err != nil {
			return err
		}
		r.rest = r.rest[end+1:]
		if r.full() {
			return nil
		}
	}
}

// line writes one line of the CRI's format: TIME STREAM TAGS CONTENT, where the
// tag P marks a piece of a longer line. A line in no such format is left out.
func (r *logReader) line(line []byte) error {
	stamp, rest, ok1 := bytes.Cut(line, []byte(" "))
	stream, rest, ok2 := bytes.Cut(rest, []byte(" "))
	tags, content, ok3 := bytes.Cut(rest, []byte(" "))
	if !ok1 || !ok2 || string(stream) != "stdout" && string(stream) != "stderr" {
		return nil
	}
	if !ok3 { // an empty line may have lost its last blank
		tags, content = rest, nil
	}
	if r.options.Stream != "" && string(stream) != r.options.Stream {
		return nil
	}
	if !r.options.Since.IsZero() {
		at, err := time.Parse(time.RFC3339Nano, string(stamp))
		if err != nil || at.Before(r.options.Since) {
			return nil
		}
	}
	var text []byte
	if r.options.Timestamps && !r.inLine {
		text = append(fixed(stamp), ' ')
	}
	text = append(text, content...)
	tag, _, _ := bytes.Cut(tags, []byte(":"))
	if r.inLine = string(tag) == "P"; !r.inLine {
		text = append(text, '\n')
	}
	return r.write(text)
}

// fixed writes a time with all nine digits of its nanoseconds, as upstream's node
// agent does: lines of several containers can then be sorted as text. What is no
// time stays as it is.
func fixed(stamp []byte) []byte {
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return bytes.Clone(stamp)
	}
	return at.AppendFormat(nil, "2006-01-02T15:04:05.000000000Z07:00")
}

func (r *logReader) write(text []byte) error {
	if r.options.Limit >= 0 {
		text = text[:min(int64(len(text)), r.options.Limit-r.written)]
	}
	n, err := r.out.Write(text)
	r.written += int64(n)
	return err
}

// followRotation goes over to the new file if the log was rotated. The rest of
// the old one is read first.
func (r *logReader) followRotation() error {
	next, err := OpenLog(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // between the rename and the new file, or removed
	}
	if err != nil {
		return err
	}
	same, err := sameFile(next, r.file)
	if err == nil && !same {
		err = r.drain()
	}
	if err != nil || same {
		_ = next.Close() // it was only read
		return err
	}
	r.close()
	r.file, r.rest = next, nil
	return nil
}

func sameFile(a, b *os.File) (bool, error) {
	one, err := a.Stat()
	if err != nil {
		return false, fmt.Errorf("reading log: %w", err)
	}
	two, err := b.Stat()
	if err != nil {
		return false, fmt.Errorf("reading log: %w", err)
	}
	return os.SameFile(one, two), nil
}
