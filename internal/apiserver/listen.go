package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
)

// CheckPort tells whether the server could listen on the port, with the error
// that it would give: a start that cannot succeed is better not begun.
func CheckPort(ctx context.Context, bind netip.Addr, port int) error {
	l, err := listen(ctx, bind, port)
	if err != nil {
		return err
	}
	return l.Close()
}

// listen opens the server's TCP port. A taken port is named together with the
// process that has it.
func listen(ctx context.Context, bind netip.Addr, port int) (*net.TCPListener, error) {
	host := ""
	if bind.IsValid() && !bind.IsUnspecified() {
		host = bind.String()
	}
	var cfg net.ListenConfig
	l, err := cfg.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err == nil {
		return l.(*net.TCPListener), nil
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		owner := portOwner(port)
		return nil, fmt.Errorf("listening on TCP port %d for the API server: the port is taken%s; stop that process or choose another port with --api-port", port, owner)
	}
	return nil, fmt.Errorf("listening on TCP port %d for the API server: %w", port, err)
}
