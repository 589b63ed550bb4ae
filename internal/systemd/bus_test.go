package systemd

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBusWithoutSystemd is a real bus on which nobody knows of units: what it answers is the error.
func TestBusWithoutSystemd(t *testing.T) {
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("needs Debian's dbus-daemon")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "bus.conf")
	write(t, config, `<busconfig><listen>unix:path=`+dir+`/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`)
	daemon := exec.Command("dbus-daemon", "--config-file="+config, "--nofork", "--print-address")
	out, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = daemon.Process.Kill(); _ = daemon.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", strings.TrimSpace(address))
	if _, err := Dial(true); err == nil || !strings.Contains(err.Error(), service+" was not provided") {
		t.Errorf("on a bus without systemd: %v", err)
	}
}

// TestStrangers answer what no bus answers.
func TestStrangers(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	for answer, want := range map[string]string{
		"":                          "closed the connection",
		"REJECTED EXTERNAL\r\n":     `the answer is "REJECTED EXTERNAL"`,
		"OK 1\r\n":                  "closed the connection",
		"OK 1\r\nnot D-Bus at all!": "not a message of D-Bus",
		"DATA\r\nOK 1\r\nl\x02\x00\x01\xff\xff\xff\x7f\x01\x00\x00\x00\x00\x00\x00\x00": "too long",
	} {
		socket := filepath.Join(t.TempDir(), "bus")
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer l.Close()
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(answer))
			// Closing while there is something to read would be a reset.
			_ = c.(*net.UnixConn).CloseWrite()
			_, _ = bufio.NewReader(c).ReadString(0xff)
			_ = c.Close()
		}()
		t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+socket)
		if _, err := Dial(true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", answer, err, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"unix:path=/run/bus":                        "/run/bus",
		"tcp:host=x;unix:guid=1,abstract=/tmp/a%2C": "@/tmp/a,",
		"unix:path=/a%20b,guid=7":                   "/a b",
	} {
		if got, err := parseAddress(text); err != nil || got.Name != want {
			t.Errorf("%q: %v, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"", "tcp:host=x", "unix:tmpdir=/tmp", "unix:path=%", "unix:path=%zz"} {
		if got, err := parseAddress(text); err == nil {
			t.Errorf("%q was taken as %v", text, got)
		}
	}
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/none")
	if _, err := Dial(true); err == nil || !strings.Contains(err.Error(), "/none: no such file") || !strings.Contains(err.Error(), "let the caller use cgroupfs") {
		t.Errorf("a bus that is not there: %v", err)
	}
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	if _, err := Dial(true); err == nil || !strings.Contains(err.Error(), "XDG_RUNTIME_DIR") {
		t.Errorf("a user's bus that nobody names: %v", err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
