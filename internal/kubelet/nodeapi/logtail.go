package nodeapi

import (
	"bytes"
	"io"
	"strings"
)

// LogTail gives the last lines of a container's log without the CRI's frame:
// at most limit bytes and lines lines.
func LogTail(path string, limit, lines int) string {
	f, err := OpenLog(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	// A line's frame (time, stream, tag) takes about 45 bytes; read enough for
	// all of them.
	window := int64(limit + lines*64)
	if size, err := f.Seek(0, io.SeekEnd); err == nil && size > window {
		_, _ = f.Seek(size-window, io.SeekStart) // a failure shows in the read
	} else {
		_, _ = f.Seek(0, io.SeekStart)
	}
	raw, err := io.ReadAll(io.LimitReader(f, window))
	if err != nil {
		return ""
	}
	var out []string
	for line := range bytes.Lines(raw) {
		parts := strings.SplitN(strings.TrimRight(string(line), "\n"), " ", 4)
		if len(parts) < 4 || len(parts[0]) < 20 {
			continue // the cut piece of a line at the start
		}
		end := "\n"
		if strings.HasPrefix(parts[2], "P") {
			end = ""
		}
		out = append(out, parts[3]+end)
	}
	if len(out) > lines {
		out = out[len(out)-lines:]
	}
	text := strings.Join(out, "")
	if len(text) > limit {
		text = text[len(text)-limit:]
	}
	return text
}
