package systemd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// addresses are the socket of the bus and that of systemd itself.
func addresses(user bool) (bus *unix.SockaddrUnix, private string, err error) {
	variable, socket, private := "DBUS_SYSTEM_BUS_ADDRESS", "/run/dbus/system_bus_socket", "/run/systemd/private"
	if user {
		dir := os.Getenv("XDG_RUNTIME_DIR")
		variable, socket, private = "DBUS_SESSION_BUS_ADDRESS", filepath.Join(dir, "bus"), filepath.Join(dir, "systemd/private")
		if dir == "" && os.Getenv(variable) == "" {
			return nil, "", errors.New("the user's bus is not known: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set")
		}
	}
	if v := os.Getenv(variable); v != "" {
		bus, err = parseAddress(v)
		if err != nil {
			err = fmt.Errorf("%s: %w", variable, err)
		}
		return bus, private, err
	}
	return &unix.SockaddrUnix{Name: socket}, private, nil
}

// parseAddress reads the first socket of a list such as "unix:path=/run/bus,guid=1;unix:abstract=/tmp/bus" (D-Bus
// specification, "Server Addresses").
func parseAddress(list string) (*unix.SockaddrUnix, error) {
	for address := range strings.SplitSeq(list, ";") {
		options, ok := strings.CutPrefix(address, "unix:")
		if !ok {
			continue
		}
		for option := range strings.SplitSeq(options, ",") {
			key, value, _ := strings.Cut(option, "=")
			if key != "path" && key != "abstract" {
				continue
			}
			name, err := unescape(value)
			if err == nil && key == "abstract" {
				name = "@" + name
			}
			return &unix.SockaddrUnix{Name: name}, err
		}
	}
	return nil, fmt.Errorf("%q names no unix socket by path or abstract name", list)
}

// unescape puts the bytes in place that are written as % and two hexadecimal digits.
func unescape(s string) (string, error) {
	var out strings.Builder
	for {
		before, after, escaped := strings.Cut(s, "%")
		out.WriteString(before)
		if !escaped {
			return out.String(), nil
		}
		if len(after) < 2 {
			return "", fmt.Errorf("%q ends within an escape", s)
		}
		b, err := strconv.ParseUint(after[:2], 16, 8)
		if err != nil {
			return "", fmt.Errorf("%q is not an escape: %w", "%"+after[:2], err)
		}
		out.WriteByte(byte(b))
		s = after[2:]
	}
}
