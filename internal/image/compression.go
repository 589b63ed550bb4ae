package image

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxZstdWindow bounds the memory that a zstd stream may ask for; it is what
// "zstd --ultra -22" needs (window log 27).
const maxZstdWindow = 128 << 20

var (
	gzipMagic  = []byte{0x1f, 0x8b}
	zstdMagic  = []byte{0x28, 0xb5, 0x2f, 0xfd}
	zstdSkip   = []byte{0x2a, 0x4d, 0x18}
	xzMagic    = []byte{0xfd, '7', 'z', 'X', 'Z', 0}
	bzip2Magic = []byte("BZh")
)

// compressed says whether a stream that starts with head is compressed in a
// way that decompress reads.
func compressed(head []byte) bool {
	return bytes.HasPrefix(head, gzipMagic) || isZstd(head)
}

// isZstd takes frames, and the frames to skip that some compressors (pzstd) begin with (RFC 8878, section 3.1.2).
func isZstd(head []byte) bool {
	return bytes.HasPrefix(head, zstdMagic) || len(head) > 4 && head[0]&0xf0 == 0x50 && bytes.HasPrefix(head[1:], zstdSkip)
}

// isBzip2 looks at more than the three letters that a file's name may begin with, too.
func isBzip2(head []byte) bool {
	return len(head) > 5 && bytes.HasPrefix(head, bzip2Magic) && head[3] >= '1' && head[3] <= '9' && head[4] == 0x31 && head[5] == 0x41
}

// needsDecompressor is true also for compressions that decompress refuses by name.
func needsDecompressor(head []byte) bool {
	return compressed(head) || bytes.HasPrefix(head, xzMagic) || isBzip2(head)
}

// decompress finds a stream's compression by its first bytes, whatever its
// media type claims, and returns the plain stream.
func decompress(r *bufio.Reader) (io.ReadCloser, error) {
	head, err := r.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		zr, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("reading gzip header: %w", err)
		}
		return zr, nil
	case isZstd(head):
		zr, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxZstdWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("reading zstd header: %w", err)
		}
		return zr.IOReadCloser(), nil
	case bytes.HasPrefix(head, xzMagic), isBzip2(head):
		return nil, fmt.Errorf("%w: compressed with xz or bzip2; only gzip and zstd are read; unpack it first (xz -d, bzip2 -d)", ErrInvalidArchive)
	}
	return io.NopCloser(r), nil
}
