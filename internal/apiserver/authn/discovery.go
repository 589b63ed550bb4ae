package authn

import (
	"crypto"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/golang-jwt/jwt/v5"
)

// Paths of the issuer's description (OpenID Connect Discovery 1.0 section 4,
// RFC 7517), by which others verify service-account tokens (KEP-1393).
const (
	ConfigurationPath = "/.well-known/openid-configuration"
	KeysPath          = "/openid/v1/jwks"
)

// configuration is the issuer's description.
type configuration struct {
	Issuer        string   `json:"issuer"`
	KeysURL       string   `json:"jwks_uri"`
	ResponseTypes []string `json:"response_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
}

// keySet is a JSON Web Key Set; its keys are all on the curve P-256.
type keySet struct {
	Keys []webKey `json:"keys"`
}

type webKey struct {
	Use   string `json:"use"`
	Type  string `json:"kty"`
	ID    string `json:"kid"`
	Curve string `json:"crv"`
	Alg   string `json:"alg"`
	X     string `json:"x"`
	Y     string `json:"y"`
}

// Describe returns the handlers of the two paths. keysURL is where outsiders
// find KeysPath.
func Describe(issuer, keysURL string, keys []crypto.PublicKey) (map[string]http.Handler, error) {
	alg := jwt.SigningMethodES256.Alg()
	set := keySet{}
	for _, k := range keys {
		key, err := webKeyOf(k, alg)
		if err != nil {
			return nil, err
		}
		set.Keys = append(set.Keys, key)
	}
	config := configuration{Issuer: issuer, KeysURL: keysURL, ResponseTypes: []string{"id_token"}, SubjectTypes: []string{"public"}, Algorithms: []string{alg}}
	return map[string]http.Handler{
		ConfigurationPath: document("application/json", config),
		KeysPath:          document("application/jwk-set+json", set),
	}, nil
}

func webKeyOf(key crypto.PublicKey, alg string) (webKey, error) {
	public, ok := key.(*ecdsa.PublicKey)
	if !ok {
		return webKey{}, fmt.Errorf("describing a token key: %T is no ECDSA key", key)
	}
	point, err := public.ECDH()
	if err != nil {
		return webKey{}, fmt.Errorf("describing a token key: %w", err)
	}
	kid, err := keyID(key)
	if err != nil {
		return webKey{}, err
	}
	// An uncompressed point: a byte 4, then X and Y of equal length.
	raw := point.Bytes()[1:]
	half := len(raw) / 2
	return webKey{Use: "sig", Type: "EC", ID: kid, Curve: "P-256", Alg: alg,
		X: base64.RawURLEncoding.EncodeToString(raw[:half]), Y: base64.RawURLEncoding.EncodeToString(raw[half:])}, nil
}

func document(contentType string, content any) http.Handler {
	data, err := json.Marshal(content)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = w.Write(data)
	})
}
