package netlink

import "testing"

// The parsers read the kernel's bytes; they must not fall over any others.
func FuzzParse(f *testing.F) {
	f.Add(make([]byte, 16))
	f.Add([]byte{2, 0, 0, 0, 8, 0, 1, 128, 4, 0, 1, 128})
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = parseLink(b)
		_, _ = parseFlow(b)
		if len(b) >= 12 {
			_, _ = parseRoute(b)
		}
	})
}
