// Package pki holds the cluster's certificate authority and the key that signs
// service-account tokens: made at the first start, kept in one directory with
// mode 0700, read back at every later start.
//
// Only three files are kept: ca.crt, ca.key and token.key. Leaf certificates
// are issued at start, held in memory, and issued again before they end; so a
// machine that runs for years never serves an old one, and there is no second
// place where a renewed certificate could be forgotten.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	// authorityLife is long because replacing an authority means touching
	// every kubeconfig that trusts it.
	authorityLife = 10 * 365 * 24 * time.Hour
	// backdate lets a machine whose clock stands a little in the past (a board
	// without a battery, a resumed laptop) use certificates made just now.
	// Leaves begin when their authority begins.
	backdate = 24 * time.Hour
)

// Authority is the cluster's certificate authority and token signer.
type Authority struct {
	cert     *x509.Certificate
	key      crypto.Signer
	tokenKey crypto.Signer
	pem      []byte
}

// Open reads the authority from dir, and makes it there if dir holds none. A
// directory with a part of an authority is an error: making the rest anew would
// silently invalidate every certificate and token in use.
func Open(dir string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the key directory: %w", err)
	}
	a, err := read(dir)
	if errors.Is(err, errEmpty) {
		a, err = create(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the certificate authority in %s: %w", dir, err)
	}
	return a, nil
}

var errEmpty = errors.New("no authority there")

func read(dir string) (*Authority, error) {
	names := []string{"ca.crt", "ca.key", "token.key"}
	data := map[string][]byte{}
	var missing []string
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, name)
		case err != nil:
			return nil, err
		default:
			data[name] = b
		}
	}
	// ca.crt is written last: without it nothing was ever issued.
	if data["ca.crt"] == nil {
		return nil, errEmpty
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%v missing beside ca.crt: restore it from a backup, or remove %s to start with new keys (every kubeconfig and token in use becomes invalid)", missing, dir)
	}
	a := &Authority{pem: data["ca.crt"]}
	var err error
	if a.cert, err = parseCert(data["ca.crt"]); err != nil {
		return nil, fmt.Errorf("reading ca.crt: %w: restore it from a backup", err)
	}
	if a.key, err = parseKey(data["ca.key"]); err != nil {
		return nil, fmt.Errorf("reading ca.key: %w: restore it from a backup", err)
	}
	if a.tokenKey, err = parseKey(data["token.key"]); err != nil {
		return nil, fmt.Errorf("reading token.key: %w: restore it from a backup", err)
	}
	if pub, ok := a.cert.PublicKey.(*ecdsa.PublicKey); !ok || !pub.Equal(a.key.Public()) {
		return nil, errors.New("ca.key does not belong to ca.crt: restore both from the same backup")
	}
	return a, nil
}

func create(dir string) (*Authority, error) {
	key, keyPEM, err := newKey()
	if err != nil {
		return nil, err
	}
	tokenKey, tokenPEM, err := newKey()
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: fmt.Sprintf("skiff-ca@%d", now.Unix())},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("signing the authority's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	files := []struct {
		name string
		data []byte
		mode fs.FileMode
	}{{"ca.key", keyPEM, 0o600}, {"token.key", tokenPEM, 0o600}, {"ca.crt", certPEM, 0o644}}
	for _, f := range files {
		if err := writeFile(filepath.Join(dir, f.name), f.data, f.mode); err != nil {
			return nil, err
		}
	}
	return &Authority{cert: cert, key: key, tokenKey: tokenKey, pem: certPEM}, nil
}

// CAPEM returns the certificates to trust, PEM encoded.
func (a *Authority) CAPEM() []byte { return a.pem }

// Pool returns the certificates to trust as a pool.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// TokenKey signs service-account tokens (ECDSA P-256, so ES256).
func (a *Authority) TokenKey() crypto.Signer { return a.tokenKey }

// TokenPublicKeys verify service-account tokens: the signing key's public half
// first, then older ones that are still honoured.
func (a *Authority) TokenPublicKeys() []crypto.PublicKey {
	return []crypto.PublicKey{a.tokenKey.Public()}
}

func newKey() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generating a key: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding a key: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func parseKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no PEM block in the file")
	}
	return x509.ParseECPrivateKey(block.Bytes)
}

func parseCert(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no PEM block in the file")
	}
	return x509.ParseCertificate(block.Bytes)
}
