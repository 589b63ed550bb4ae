package config

import (
	"crypto/sha256"
	"encoding/hex"
)

// shortHash is a stable hexadecimal digest of a name, for link names that may
// have no more than 15 bytes.
func shortHash(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:8])
}
