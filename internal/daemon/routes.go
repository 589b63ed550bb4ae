package daemon

import (
	"encoding/hex"
	"fmt"
	"math/bits"
	"net/netip"
	"os"
	"strings"
)

// ranges are destinations of the machine's routes.
type ranges []netip.Prefix

// routes reads the IPv4 routes of this network namespace, without those
// through the link own.
func routes(own string) (ranges, error) {
	data, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return nil, fmt.Errorf("listing the machine's routes: %w", err)
	}
	return parseRoutes(string(data), own), nil
}

// parseRoutes reads the table of /proc/net/route (proc_pid_net(5)): interface,
// destination, gateway, flags, RefCnt, use, metric, mask, ...; addresses are
// hexadecimal in the machine's byte order.
func parseRoutes(table, own string) ranges {
	var list ranges
	for line := range strings.SplitSeq(table, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 8 || fields[0] == own || fields[0] == "Iface" {
			continue
		}
		dst, err := hex.DecodeString(fields[1])
		if err != nil || len(dst) != 4 {
			continue
		}
		mask, err := hex.DecodeString(fields[7])
		if err != nil || len(mask) != 4 {
			continue
		}
		ones := 0
		for _, b := range mask {
			ones += bits.OnesCount8(b)
		}
		// Little-endian, as on every machine that skiff is built for.
		addr := netip.AddrFrom4([4]byte{dst[3], dst[2], dst[1], dst[0]})
		list = append(list, netip.PrefixFrom(addr, ones))
	}
	return list
}

// hit returns the first route that overlaps p, leaving out the default route.
func (r ranges) hit(p netip.Prefix) netip.Prefix {
	for _, other := range r {
		if other.Bits() > 0 && other.Overlaps(p) {
			return other
		}
	}
	return netip.Prefix{}
}

func (r ranges) hits(p netip.Prefix) bool { return r.hit(p).IsValid() }
