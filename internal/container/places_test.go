package container

import (
	"os"
	"path/filepath"
	"testing"
)

// A container that has written nothing has an empty writable layer, and what it
// writes is there.
func TestWritableLayerHoldsWhatWasWritten(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", nil, "sleep", "1000")
	upper := filepath.Join(n.s.containerDir(id), "upper")
	left, err := os.ReadDir(upper)
	if err != nil || len(left) != 0 {
		t.Errorf("a container that wrote nothing has %v in its layer, %v", left, err)
	}
	if out, code := n.exec(id, "sh", "-c", "echo x >/etc/x && sync && cat /etc/x /etc/hostname"); code != 0 || out != "x\npod\n" {
		t.Errorf("exec: %q, %d", out, code)
	}
	if got, err := os.ReadFile(filepath.Join(upper, "etc/x")); err != nil || string(got) != "x\n" {
		t.Errorf("written file: %q, %v", got, err)
	}
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		if info, err := os.Stat(filepath.Join(n.s.placesDir(), "etc", name)); err != nil || info.Size() != 0 {
			t.Errorf("%s in the layer that all containers share: %v, %v", name, info, err)
		}
	}
}
