package image

import (
	"bytes"
	"context"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What is saved can be imported elsewhere, with the same ids and names, by
// those who read the layout and by those who read Docker's manifest.
func TestSave(t *testing.T) {
	amd64 := ocispec.Platform{OS: "linux", Architecture: "amd64"}
	s := openStore(t, Options{Platform: amd64})
	if _, err := s.Import(context.Background(), bytes.NewReader(containerdSave(t, true)), ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	importNamed(t, s, "other:2", "x")
	var buf bytes.Buffer
	if err := s.Save(context.Background(), &buf, "app:1", "other:2"); err != nil {
		t.Fatal(err)
	}
	other := openStore(t, Options{Platform: amd64})
	imgs, err := other.Import(context.Background(), &buf, ImportOptions{})
	if err != nil || len(imgs) != 2 {
		t.Fatalf("%v, %v", imgs, err)
	}
	for _, img := range s.List() {
		if got, err := other.Resolve(img.Tags[0]); err != nil || got.ID != img.ID {
			t.Errorf("%v: %v, %v", img.Tags, got.ID, err)
		}
	}
	checkTwoLayers(t, other)
	if len(s.leases) != 0 {
		t.Errorf("leases are left: %v", s.leases)
	}
}
