package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// maxDocuments bounds the memory that an archive's JSON documents take, maxMemberNames that of its members' names.
const (
	maxDocuments   = 64 << 20
	maxMemberNames = 16 << 20
)

// memberNames bounds the names of an archive's members: a few compressed bytes may be names of a megabyte each.
type memberNames struct{ total int }

func (m *memberNames) check(hdr *tar.Header, limits Limits) error {
	for _, name := range []string{hdr.Name, hdr.Linkname} {
		if len(name) > limits.PathBytes {
			return fmt.Errorf("%w: archive with a member's name of %d bytes, at most %d are allowed", ErrLimit, len(name), limits.PathBytes)
		}
		m.total += len(name)
	}
	if m.total > maxMemberNames {
		return fmt.Errorf("%w: archive with more than %d bytes of members' names", ErrLimit, maxMemberNames)
	}
	return nil
}

// streamArchive is a tar that went by once: documents are kept in memory,
// whatever looks like a layer was unpacked into the stage.
type streamArchive struct {
	st      *stage
	docs    map[string][]byte
	docSize int64
	layers  map[string]layerSource
	links   map[string]string
}

// readStream reads a whole archive in one pass, in whatever order its members
// come. Docker puts the manifest last.
func readStream(ctx context.Context, st *stage, r io.Reader, ev *events) (*streamArchive, error) {
	a := &streamArchive{st: st, docs: map[string][]byte{}, layers: map[string]layerSource{}, links: map[string]string{}}
	tr := tar.NewReader(r)
	var names memberNames
	for n := 0; ; n++ {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = names.check(hdr, st.s.limits)
		}
		if err != nil {
			return nil, archiveError(ctx, n, err)
		}
		if n > st.s.limits.LayerEntries {
			return nil, fmt.Errorf("%w: archive with more than %d members", ErrLimit, n-1)
		}
		if err := a.member(ctx, hdr, tr, ev); err != nil {
			return nil, archiveError(ctx, n, err)
		}
	}
	return a, nil
}

// archiveError tells a truncated archive from one that is none at all.
func archiveError(ctx context.Context, members int, err error) error {
	var src marked
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, io.ErrUnexpectedEOF) && members == 0:
		return fmt.Errorf("%w: it ends within its first member: it is no tar file (plain, gzip or zstd), or it is truncated; save or copy it again", ErrInvalidArchive)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: it ends in the middle of a member: it is truncated; save or copy it again", ErrInvalidArchive)
	case errors.As(err, &src):
		return fmt.Errorf("reading archive: %w", src.error)
	case errors.Is(err, tar.ErrHeader) && members == 0:
		return fmt.Errorf("%w: it is no tar file (plain, gzip or zstd); make one with `docker save` or `skopeo copy ... oci-archive:FILE`", ErrInvalidArchive)
	case errors.Is(err, tar.ErrHeader):
		return fmt.Errorf("%w: broken tar header after %d members; save or copy it again", ErrInvalidArchive, members)
	}
	return err
}

func (a *streamArchive) member(ctx context.Context, hdr *tar.Header, tr *tar.Reader, ev *events) error {
	name := memberName(hdr.Name)
	if name == "" {
		return nil
	}
	switch hdr.Typeflag {
	case tar.TypeSymlink, tar.TypeLink:
		a.links[name] = linkTarget(name, hdr.Linkname, hdr.Typeflag == tar.TypeLink)
		return nil
	case tar.TypeReg:
	default:
		return nil
	}
	br := bufio.NewReaderSize(tr, 4096)
	head, err := br.Peek(512)
	if err != nil && err != io.EOF {
		return err
	}
	switch {
	case isDocument(head) && hdr.Size <= a.st.s.limits.Manifest:
		return a.keepDocument(name, br)
	case looksLikeLayer(head):
		return a.keepLayer(ctx, name, hdr.Size, br, ev)
	}
	return nil
}

func (a *streamArchive) keepDocument(name string, r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if a.docSize += int64(len(data)); a.docSize > maxDocuments {
		return fmt.Errorf("%w: archive with more than %d bytes of JSON documents", ErrLimit, maxDocuments)
	}
	a.docs[name] = data
	return nil
}

func (a *streamArchive) keepLayer(ctx context.Context, name string, size int64, r io.Reader, ev *events) error {
	d := digestOfName(name)
	if known, ok := a.st.s.holdBlob(a.st, d); ok {
		ev.send(Event{Action: "exists", Digest: string(d)})
		a.layers[name] = layerSource{known: known}
		return nil
	}
	counted := &countingReader{r: r}
	sl, err := a.st.unpack(ctx, counted, layerWant{name: name, blob: d}, ev.progress("unpacking", name, size))
	switch {
	case err == nil:
		a.layers[name] = layerSource{staged: sl}
		return nil
	case counted.n < size && counted.err != nil, ctx.Err() != nil, errors.Is(err, ErrNoSpace):
		return err
	}
	// Perhaps it is not needed: another platform's, or no layer at all.
	a.layers[name] = layerSource{err: err}
	return nil
}

func (a *streamArchive) document(name string, limit int64) ([]byte, error) {
	data, ok := a.docs[a.resolve(name)]
	if !ok {
		return nil, fs.ErrNotExist
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d are allowed", ErrLimit, name, len(data), limit)
	}
	return data, nil
}

func (a *streamArchive) layer(name string) (layerSource, error) {
	l, ok := a.layers[a.resolve(memberName(name))]
	if !ok {
		return layerSource{}, fs.ErrNotExist
	}
	return l, nil
}

func (a *streamArchive) resolve(name string) string {
	for range 8 {
		target, ok := a.links[name]
		if !ok {
			break
		}
		name = target
	}
	return name
}

// isDocument says whether a member starts as a JSON object or array does.
func isDocument(head []byte) bool {
	head = bytes.TrimLeft(head, " \t\r\n")
	return len(head) > 0 && (head[0] == '{' || head[0] == '[')
}

// looksLikeLayer says whether a member may be a layer, by its first 512 bytes.
func looksLikeLayer(head []byte) bool {
	if compressed(head) {
		return true
	}
	if len(head) < 512 {
		return false
	}
	if string(head[257:262]) == "ustar" || bytes.Count(head, []byte{0}) == len(head) {
		return true
	}
	_, err := tar.NewReader(bytes.NewReader(append(head[:512:512], make([]byte, 1024)...))).Next()
	return err == nil
}

// countingReader tells how far a member was read, and why no further.
type countingReader struct {
	r   io.Reader
	n   int64
	err error
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}
