package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func mustOpen(t *testing.T, dir string) *Authority {
	t.Helper()
	a, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func leaf(t *testing.T, p Pair) *x509.Certificate {
	t.Helper()
	c, err := p.TLS()
	if err != nil {
		t.Fatal(err)
	}
	return c.Leaf
}

func TestOpenTwice(t *testing.T) {
	dir := t.TempDir()
	first, second := mustOpen(t, dir), mustOpen(t, dir)
	if !bytes.Equal(first.CAPEM(), second.CAPEM()) || first.TokenKey().Public() == nil {
		t.Error("the second authority is another one")
	}
	for _, name := range []string{"ca.key", "token.key"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	pair, err := first.ClientCert("bob", "builders", "painters")
	if err != nil {
		t.Fatal(err)
	}
	c := leaf(t, pair)
	if c.Subject.CommonName != "bob" || len(c.Subject.Organization) != 2 {
		t.Errorf("subject %v", c.Subject)
	}
	if _, err := c.Verify(x509.VerifyOptions{Roots: second.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if _, err := c.Verify(x509.VerifyOptions{Roots: second.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
		t.Error("a client's certificate serves as a server's")
	}
}

func TestServingCert(t *testing.T) {
	a := mustOpen(t, t.TempDir())
	pair, err := a.ServingCert(ServingRequest{CommonName: "x", DNSNames: []string{"kubernetes"}, IPs: []netip.Addr{netip.MustParseAddr("10.43.0.1")}})
	if err != nil {
		t.Fatal(err)
	}
	c := leaf(t, pair)
	for _, name := range []string{"kubernetes", "10.43.0.1"} {
		if err := c.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if time.Since(c.NotBefore) < 23*time.Hour {
		t.Errorf("valid from %s only", c.NotBefore)
	}
	if c.NotAfter.After(a.cert.NotAfter) {
		t.Error("it outlives its authority")
	}
	if _, err := tls.X509KeyPair(pair.Cert, pair.Key); err != nil {
		t.Error(err)
	}
}

// TestDamaged takes away or breaks each file in turn. No damage may lead to new
// keys without a word.
func TestDamaged(t *testing.T) {
	other := t.TempDir()
	mustOpen(t, other)
	foreign, err := os.ReadFile(filepath.Join(other, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, file string
		data       []byte
		want       string
	}{
		{"key gone", "ca.key", nil, "[ca.key] missing beside ca.crt: restore it from a backup"},
		{"token key gone", "token.key", nil, "[token.key] missing"},
		{"key broken", "ca.key", []byte("x"), "reading ca.key: no PEM block in the file: restore it from a backup"},
		{"certificate broken", "ca.crt", []byte("x"), "reading ca.crt: no PEM block"},
		{"foreign key", "ca.key", foreign, "ca.key does not belong to ca.crt"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			mustOpen(t, dir)
			path := filepath.Join(dir, test.file)
			if test.data == nil {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			} else if err := os.WriteFile(path, test.data, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestHalfMade is a first start that lost power before ca.crt was there.
func TestHalfMade(t *testing.T) {
	dir := t.TempDir()
	mustOpen(t, dir)
	if err := os.Remove(filepath.Join(dir, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dir)
	mustOpen(t, dir)
}
