package image

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestPrivateAuthority(t *testing.T) {
	a := newAuthority(t)
	srv, _ := counting(t, "app")
	s := a.secure(t, srv, false)
	host := s.Listener.Addr().String()
	ref := host + "/app:1"
	n := newNode(t)
	n.mustFail(t, ref, ErrUnavailable, "x509")
	n.write(t, "ca.crt", string(a.pem))
	for _, yaml := range []string{"ca_file: " + n.dir + "/ca.crt", "insecure_skip_verify: true"} {
		n.write(t, "registries.yaml", fmt.Sprintf("configs:\n  %q:\n    tls:\n      %s\n", host, yaml))
		n.mustPull(t, ref)
	}
	n.write(t, "registries.yaml", "configs:\n  \"*\":\n    tls: {insecure_skip_verify: true}\n")
	n.mustPull(t, ref)
	n.write(t, "registries.yaml", "")
	n.write(t, "certs.d/"+host+"/ca.crt", string(a.pem))
	n.mustPull(t, ref) // as Docker has it, without hosts.toml
	for _, toml := range []string{"ca = \"ca.crt\"", "ca = [\"" + n.dir + "/ca.crt\"]", "skip_verify = true"} {
		n.write(t, "certs.d/"+host+"/hosts.toml", fmt.Sprintf("server = %q\n%s\n", s.URL, toml))
		n.mustPull(t, ref)
		n.write(t, "certs.d/"+host+"/hosts.toml", toml)
		n.mustPull(t, ref)
	}
	n.write(t, "certs.d/"+host+"/hosts.toml", fmt.Sprintf("server = %q\nskip_verify = false\n", s.URL))
	n.mustFail(t, ref, ErrUnavailable, "x509")
}

func TestClientCertificate(t *testing.T) {
	a := newAuthority(t)
	srv, _ := counting(t, "app")
	s := a.secure(t, srv, true)
	n := newNode(t)
	ref := "reg.example.com/app:1"
	cert, key := pemOf(t, a.issue(t, "client"))
	n.write(t, "certs.d/_default/ca.crt", string(a.pem))
	n.write(t, "certs.d/_default/client.cert", cert)
	n.write(t, "certs.d/_default/client.key", key)
	n.write(t, "certs.d/_default/both.pem", cert+key)
	n.write(t, "certs.d/_default/hosts.toml", fmt.Sprintf("server = %q\nca = \"ca.crt\"\n", s.URL))
	n.mustFail(t, ref, ErrUnavailable, "certificate required")
	for _, client := range []string{`"both.pem"`, `["both.pem"]`, `[["client.cert", "client.key"]]`, `[["both.pem", ""]]`} {
		n.write(t, "certs.d/_default/hosts.toml", fmt.Sprintf("server = %q\nca = \"ca.crt\"\nclient = %s\n", s.URL, client))
		n.mustPull(t, ref)
	}
	if err := os.RemoveAll(filepath.Join(n.dir, "certs.d", "_default", "hosts.toml")); err != nil {
		t.Fatal(err)
	}
	dir := n.dir + "/certs.d/_default/"
	n.write(t, "registries.yaml", fmt.Sprintf("mirrors:\n  reg.example.com: {endpoint: [%q]}\nconfigs:\n  %q:\n    tls: {ca_file: %sca.crt, cert_file: %[3]sclient.cert, key_file: %[3]sclient.key}\n",
		s.URL, s.Listener.Addr(), dir))
	n.mustPull(t, ref)
}

// secure puts TLS before a registry, with a certificate of ca, and asks for a
// client's certificate of the same where mutual.
func (a *authority) secure(t *testing.T, srv *server, mutual bool) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(srv.Config.Handler)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{a.issue(t, "server")}}
	if mutual {
		s.TLS.ClientAuth, s.TLS.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		s.TLS.ClientCAs.AddCert(a.cert)
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// authority is a certificate authority of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue makes a certificate for 127.0.0.1.
func (a *authority) issue(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func pemOf(t *testing.T, c tls.Certificate) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
