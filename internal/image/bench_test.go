package image

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"go.skiff.dev/skiff/test/testimage"
)

// layerOf makes a layer like a distribution's: many small files, some large.
func layerOf(total int) testimage.Layer {
	rng := rand.New(rand.NewPCG(1, 2))
	words := make([]byte, 1<<20)
	for i := range words {
		words[i] = "etaoinshrdlu \n{}()"[rng.IntN(18)]
	}
	var l testimage.Layer
	for n := 0; total > 0; n++ {
		size := 1 + rng.IntN(24<<10)
		if n%50 == 0 {
			size = 1 << 20
		}
		at := rng.IntN(len(words) - size + 1)
		l = append(l, testimage.File(fmt.Sprintf("usr/lib/d%03d/f%d", n/40, n), 0o644, words[at:at+size]))
		total -= size
	}
	return l
}

// BenchmarkImport reports MB/s of uncompressed layers: plain and gzip, as a
// stream and as a file, and of an archive whose layers are known.
func BenchmarkImport(b *testing.B) {
	const size = 200 << 20
	for _, c := range []struct {
		name        string
		gzip, known bool
		file        bool
	}{{name: "plain stream"}, {name: "plain file", file: true}, {name: "gzip stream", gzip: true}, {name: "known file", known: true, file: true}} {
		b.Run(c.name, func(b *testing.B) {
			img := testimage.Image{Names: []string{"bench:1"}, Gzip: c.gzip, Layers: []testimage.Layer{layerOf(size)}}
			var buf bytes.Buffer
			if err := img.WriteDockerArchive(&buf); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(size)
			dir := b.TempDir()
			s, err := Open(Options{Dir: filepath.Join(dir, "images")})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			if c.known {
				if _, err := s.Import(context.Background(), bytes.NewReader(buf.Bytes()), ImportOptions{}); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				var r io.Reader = bytes.NewBuffer(buf.Bytes())
				if c.file {
					r = bytes.NewReader(buf.Bytes())
				}
				imgs, err := s.Import(context.Background(), r, ImportOptions{})
				if err != nil {
					b.Fatal(err)
				}
				if !c.known {
					b.StopTimer()
					if err := s.Remove(imgs[0].ID); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			}
		})
	}
}
