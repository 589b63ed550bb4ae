package image

import (
	"bytes"
	"context"
	"slices"
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

// An archive has the names that were asked for, and each image once.
func TestSaveNames(t *testing.T) {
	s := openStore(t, Options{})
	img := importNamed(t, s, "a:1", "x")
	for _, name := range []string{"a:2", "a:3"} {
		if _, err := s.Tag("a:1", name); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		refs []string
		want []string
	}{
		{[]string{"a:2"}, []string{"a:2"}},
		{[]string{"a:2", "a:1", "a:2"}, []string{"a:1", "a:2"}},
		{[]string{img.ID}, []string{"a:1", "a:2", "a:3"}},
		{[]string{img.ID[7:19], "a:3"}, []string{"a:1", "a:2", "a:3"}},
	} {
		var buf bytes.Buffer
		if err := s.Save(context.Background(), &buf, c.refs...); err != nil {
			t.Fatal(err)
		}
		other := openStore(t, Options{})
		imgs, err := other.Import(context.Background(), &buf, ImportOptions{})
		if err != nil || len(imgs) != 1 {
			t.Fatalf("%q: %v, %v", c.refs, imgs, err)
		}
		var want []string
		for _, w := range c.want {
			want = append(want, "docker.io/library/"+w)
		}
		if !slices.Equal(imgs[0].Tags, want) {
			t.Errorf("%q: names %q, want %q", c.refs, imgs[0].Tags, want)
		}
	}
}
