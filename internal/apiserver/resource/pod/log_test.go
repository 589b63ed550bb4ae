package pod

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	genericrest "k8s.io/apiserver/pkg/registry/generic/rest"
)

// TestEndOfALogComesByItself: a short log comes with its length, so that net/http knows of its end when it has the last byte.
func TestEndOfALogComesByItself(t *testing.T) {
	kubelet := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "one line\n")
	}))
	defer kubelet.Close()
	location, err := url.Parse(kubelet.URL)
	if err != nil {
		t.Fatal(err)
	}
	in, _, _, err := logStreamer{&genericrest.LocationStreamer{Location: location, Transport: http.DefaultTransport}}.InputStream(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	buf := make([]byte, 100)
	if n, err := in.Read(buf); string(buf[:n]) != "one line\n" || err != nil {
		t.Errorf("the first read gave %q, %v", buf[:n], err)
	}
	for range 2 {
		if n, err := in.Read(buf); n != 0 || err != io.EOF {
			t.Errorf("a read at the end gave %q, %v", buf[:n], err)
		}
	}
}
