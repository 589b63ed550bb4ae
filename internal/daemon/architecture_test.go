package daemon

import (
	"flag"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.skiff.dev/skiff/internal/config"
)

var update = flag.Bool("update", false, "write the drawing into ARCHITECTURE.md")

const (
	document = "../../ARCHITECTURE.md"
	begin    = "<!-- drawing: begin -->\n```\n"
	end      = "```\n<!-- drawing: end -->"
)

// TestArchitectureDrawsWhatIsWired compares the drawing in ARCHITECTURE.md with
// the components that the daemon really makes.
func TestArchitectureDrawsWhatIsWired(t *testing.T) {
	cfg := config.Default("drawing")
	dir := t.TempDir()
	cfg.DataDir, cfg.RunDir = filepath.Join(dir, "data"), filepath.Join(dir, "run")
	cfg.NodeIP, cfg.ClusterDNS = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("10.43.0.10")
	d := &daemon{cfg: cfg, log: slog.New(slog.DiscardHandler), report: func(Progress) {}}
	if err := d.build(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.organs.close(); err != nil {
			t.Error(err)
		}
	})
	drawn, err := Drawing(d.group.Components)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(data), begin)
	old, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the drawing", document)
	}
	if old == drawn {
		return
	}
	if !*update {
		t.Fatalf("%s draws\n%s\nbut wired is\n%s\nrun `go test ./internal/daemon -update`", document, old, drawn)
	}
	if err := os.WriteFile(document, []byte(head+begin+drawn+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
