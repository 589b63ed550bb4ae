package image

import (
	"context"
	"errors"
	"slices"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestInspect(t *testing.T) {
	s := openStore(t, Options{})
	img := importNamed(t, s, "a:1", "one")
	if _, _, err := s.Prepare(context.Background(), img.ID, "c1"); err != nil {
		t.Fatal(err)
	}
	d, err := s.Inspect("a:1")
	if err != nil || d.ID != img.ID || !slices.Equal(d.UsedBy, []string{"c1"}) || len(d.History) != 2 {
		t.Fatalf("%+v, %v", d, err)
	}
	if d.History[0].Layer != img.DiffIDs[0] || d.History[1].Layer != img.DiffIDs[1] || d.History[1].Size == 0 {
		t.Errorf("layers without a history: %+v", d.History)
	}
	if _, err := s.Inspect("b:1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a name that is not there: %v", err)
	}
}

// Steps that changed the configuration only have no layer; a history that
// claims more layers than there are gets none for the rest.
func TestSteps(t *testing.T) {
	s := openStore(t, Options{})
	img := importNamed(t, s, "a:1", "one")
	steps := s.steps(img, []ocispec.History{
		{CreatedBy: "ADD rootfs"}, {CreatedBy: "ENV a=b", EmptyLayer: true}, {CreatedBy: "COPY f"}, {CreatedBy: "COPY nothing"},
	})
	var layers []string
	for _, st := range steps {
		layers = append(layers, st.Layer)
	}
	if want := []string{img.DiffIDs[0], "", img.DiffIDs[1], ""}; !slices.Equal(layers, want) {
		t.Errorf("layers %q, want %q", layers, want)
	}
}
