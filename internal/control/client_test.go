package control

import (
	"errors"
	"net"
	"path/filepath"
	"testing"
)

// A daemon that is killed while it is asked is one that does not run: who
// starts the next must not be told of a broken connection.
func TestDaemonThatEndsDuringTheRequest(t *testing.T) {
	for name, read := range map[string]int{"before it has read": 0, "after it has read": 4096} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				// What is not read makes the end a reset, as that of a process does.
				_, _ = c.Read(make([]byte, max(read, 1)))
				_ = c.Close()
			}()
			if err := NewClient(socket).Get(t.Context(), "/status", nil, nil); !errors.Is(err, ErrNotRunning) {
				t.Errorf("error %v", err)
			}
		})
	}
}
