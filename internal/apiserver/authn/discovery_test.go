package authn

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

// TestDescribe reads the key back as a stranger would.
func TestDescribe(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	handlers, err := Describe("https://issuer", "https://192.0.2.1:6443/openid/v1/jwks", []crypto.PublicKey{key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	var config configuration
	read(t, handlers[ConfigurationPath].ServeHTTP, "application/json", &config)
	if config.Issuer != "https://issuer" || config.KeysURL != "https://192.0.2.1:6443/openid/v1/jwks" {
		t.Errorf("got %+v", config)
	}
	var set keySet
	read(t, handlers[KeysPath].ServeHTTP, "application/jwk-set+json", &set)
	if len(set.Keys) != 1 || set.Keys[0].Curve != "P-256" {
		t.Fatalf("got %+v", set)
	}
	// SEC 1, section 2.3.3: 4 marks a point that is not compressed.
	point := slices.Concat([]byte{4}, number(t, set.Keys[0].X), number(t, set.Keys[0].Y))
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		t.Fatal(err)
	}
	if !key.PublicKey.Equal(public) {
		t.Error("another key")
	}
}

func number(t *testing.T, text string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) != 32 {
		t.Fatalf("%q: %v", text, err)
	}
	return b
}

func read(t *testing.T, serve http.HandlerFunc, contentType string, into any) {
	t.Helper()
	w := httptest.NewRecorder()
	serve(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if got := w.Header().Get("Content-Type"); got != contentType {
		t.Errorf("content type %q, want %q", got, contentType)
	}
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		t.Fatal(err)
	}
}
