package image

import (
	"bufio"
	"crypto/sha256"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
)

// plain is a layer on its way from a foreign stream to the unpacker: hashed as
// it came, decompressed, bounded, hashed again. A layer that came uncompressed
// is hashed once.
type plain struct {
	limited *layerLimit
	// diff is the uncompressed tar.
	diff     *readAhead
	diffHash hash.Hash

	blob     *readAhead
	blobHash hash.Hash
	zr       io.Closer
}

func newPlain(src *source, limits Limits) (*plain, error) {
	p := &plain{diffHash: sha256.New()}
	br := bufio.NewReaderSize(src, 4096)
	head, err := br.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	var tar io.Reader = br
	if needsDecompressor(head) {
		p.blobHash = sha256.New()
		p.blob = newReadAhead(br, p.blobHash)
		zr, err := decompress(bufio.NewReaderSize(p.blob, 64<<10))
		if err != nil {
			p.blob.Close()
			return nil, err
		}
		p.zr, tar = zr, markErrors{zr}
	}
	p.limited = &layerLimit{r: tar, src: src, limits: limits}
	p.diff = newReadAhead(p.limited, p.diffHash)
	return p, nil
}

// drain reads what follows the compressed stream: it still belongs to the blob.
func (p *plain) drain() error {
	if p.blob == nil {
		return nil
	}
	_, err := io.Copy(io.Discard, p.blob)
	return err
}

func (p *plain) diffID() digest.Digest { return digest.NewDigest(digest.SHA256, p.diffHash) }

func (p *plain) blobID() digest.Digest {
	if p.blob == nil {
		return p.diffID()
	}
	return digest.NewDigest(digest.SHA256, p.blobHash)
}

// close waits until nothing reads the source any more.
func (p *plain) close() {
	p.diff.Close()
	if p.blob != nil {
		p.zr.Close()
		p.blob.Close()
	}
}
