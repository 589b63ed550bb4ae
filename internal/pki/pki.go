// Package pki holds the cluster's certificate authority and the key that signs
// service-account tokens: made at the first start, kept in one directory with
// mode 0700, read back at every later start.
package pki

import (
	"crypto"
	"crypto/tls"
	"errors"
	"net/netip"
)

// Authority is the cluster's certificate authority.
type Authority struct {
	dir string
}

// Pair is a certificate chain and its private key, PEM encoded.
type Pair struct {
	Cert, Key []byte
}

// ServingRequest describes a server's certificate.
type ServingRequest struct {
	// CommonName is the subject's name, for instance "kube-apiserver" or
	// "system:node:NAME"; Organizations its groups.
	CommonName    string
	Organizations []string
	DNSNames      []string
	IPs           []netip.Addr
}

// Open reads the authority from dir, and makes it there if dir holds none.
func Open(dir string) (*Authority, error) {
	return nil, errors.New("opening the authority: not there yet")
}

// CAPEM returns the certificates to trust, PEM encoded.
func (a *Authority) CAPEM() []byte { return nil }

// ServingCert issues a server certificate.
func (a *Authority) ServingCert(req ServingRequest) (Pair, error) {
	return Pair{}, errors.New("issuing a serving certificate: not there yet")
}

// ClientCert issues a client certificate for a user and its groups
// (x509 subject: CN is the user, O the groups).
func (a *Authority) ClientCert(user string, groups ...string) (Pair, error) {
	return Pair{}, errors.New("issuing a client certificate: not there yet")
}

// TokenKey signs service-account tokens (ECDSA P-256, so ES256).
func (a *Authority) TokenKey() crypto.Signer { return nil }

// TokenPublicKeys verify service-account tokens: the signing key's public half
// first, then older ones that are still honoured.
func (a *Authority) TokenPublicKeys() []crypto.PublicKey { return nil }

// TLS returns the pair in the form that crypto/tls takes.
func (p Pair) TLS() (tls.Certificate, error) { return tls.X509KeyPair(p.Cert, p.Key) }
