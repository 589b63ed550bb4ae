package cli

import (
	"bytes"
	"strings"
	"testing"

	"go.skiff.dev/skiff/internal/image"
)

// What an archive calls its layers is shown, and cannot speak to the terminal.
func TestProgressOfAnImport(t *testing.T) {
	for _, c := range []struct {
		event image.Event
		want  string
	}{
		{image.Event{Action: "unpacking", Digest: "blobs/sha256/0123456789abcdef", Done: 1 << 20, Total: 2 << 20}, "0123456789ab "},
		{image.Event{Action: "unpacking", Digest: "feedfacecafebeef/layer.tar", Done: 3 << 20}, "feedfacecafe "},
		{image.Event{Action: "downloading", Digest: "sha256:0123456789abcdef", Done: 1, Total: 2}, "0123456789ab "},
		{image.Event{Action: "unpacking", Digest: "a\x1b]0;b\x07\x9bc/layer.tar", Done: 1}, "a?]0;b"},
	} {
		var out bytes.Buffer
		cmd := &command{Streams: Streams{Err: &out}}
		cmd.showProgress()(c.event)
		got := out.String()
		if !strings.HasPrefix(got, "\r"+c.want) || strings.Count(got, "\x1b") != 1 || strings.ContainsAny(got, "\x07\n") {
			t.Errorf("%+v shows as %q", c.event, got)
		}
	}
}
