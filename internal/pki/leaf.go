package pki

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"time"
)

// LeafLife is how long an issued certificate is valid. Holders ask for a new
// one when a third of it is left.
const LeafLife = 365 * 24 * time.Hour

// Pair is a certificate chain and its private key, PEM encoded.
type Pair struct {
	Cert, Key []byte
}

// TLS returns the pair in the form that crypto/tls takes.
func (p Pair) TLS() (tls.Certificate, error) { return tls.X509KeyPair(p.Cert, p.Key) }

// ServingRequest describes a server's certificate.
type ServingRequest struct {
	// CommonName is the subject's name, for instance "kube-apiserver" or
	// "system:node:NAME"; Organizations its groups.
	CommonName    string
	Organizations []string
	DNSNames      []string
	IPs           []netip.Addr
}

// ServingCert issues a server certificate.
func (a *Authority) ServingCert(req ServingRequest) (Pair, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: req.CommonName, Organization: req.Organizations},
		DNSNames:    req.DNSNames,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, ip := range req.IPs {
		template.IPAddresses = append(template.IPAddresses, net.IP(ip.Unmap().AsSlice()))
	}
	return a.issue(template)
}

// ClientCert issues a client certificate for a user and its groups
// (x509 subject: CN is the user, O the groups).
func (a *Authority) ClientCert(user string, groups ...string) (Pair, error) {
	return a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// issue fills in what all leaves share and signs.
func (a *Authority) issue(template *x509.Certificate) (Pair, error) {
	serial, err := newSerial()
	if err != nil {
		return Pair{}, err
	}
	key, keyPEM, err := newKey()
	if err != nil {
		return Pair{}, err
	}
	template.SerialNumber = serial
	template.NotBefore = a.cert.NotBefore
	template.NotAfter = time.Now().Add(LeafLife)
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("signing a certificate for %q: %w", template.Subject.CommonName, err)
	}
	return Pair{Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: keyPEM}, nil
}

// newSerial is a random positive number below 2^159 (RFC 5280 section 4.1.2.2
// allows 20 bytes).
func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 159))
	if err != nil {
		return nil, fmt.Errorf("choosing a serial number: %w", err)
	}
	return serial, nil
}
