package proxy

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPortHolder(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	if got := portHolder(unix.IPPROTO_TCP, port); !strings.Contains(got, "pid "+strconv.Itoa(os.Getpid())) {
		t.Errorf("holder %q, want this process", got)
	}
}
