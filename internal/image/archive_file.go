package image

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// seekable is a file: it can be read out of order.
type seekable interface {
	io.ReaderAt
	io.Seeker
}

// randomArchive is an archive whose members can be read in any order.
type randomArchive struct {
	// find returns the opener and size of a member; fs.ErrNotExist.
	find func(name string) (open func() (io.ReadCloser, error), size int64, err error)
}

func (a *randomArchive) document(name string, limit int64) ([]byte, error) {
	open, size, err := a.find(name)
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d are allowed", ErrLimit, name, size, limit)
	}
	r, err := open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, limit))
}

func (a *randomArchive) layer(name string) (layerSource, error) {
	open, _, err := a.find(memberName(name))
	return layerSource{open: open}, err
}

// tarMember is where a member of a tar file lies.
type tarMember struct {
	offset, size int64
	link         string
}

// openTarFile reads the headers of a tar file, skipping over contents. It
// returns nil without an error when the file is compressed (or no regular file).
func openTarFile(f seekable, limits Limits) (archive, error) {
	start, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, nil // a pipe
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("seeking in archive: %w", err)
	}
	if _, err := f.Seek(start, io.SeekStart); err != nil {
		return nil, fmt.Errorf("seeking in archive: %w", err)
	}
	sec := io.NewSectionReader(f, start, end-start)
	head := make([]byte, 6)
	if n, _ := sec.ReadAt(head, 0); n == len(head) && needsDecompressor(head) {
		return nil, nil
	}
	members, err := scanTar(sec, limits)
	if err != nil {
		return nil, err
	}
	find := func(name string) (func() (io.ReadCloser, error), int64, error) {
		m, ok := members[name]
		for range 8 {
			if m.link == "" {
				break
			}
			m, ok = members[m.link]
		}
		if !ok || m.link != "" {
			return nil, 0, fs.ErrNotExist
		}
		open := func() (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(sec, m.offset, m.size)), nil
		}
		return open, m.size, nil
	}
	return &randomArchive{find: find}, nil
}

func scanTar(sec *io.SectionReader, limits Limits) (map[string]tarMember, error) {
	members := map[string]tarMember{}
	tr := tar.NewReader(sec)
	var names memberNames
	for n := 0; ; n++ {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return members, nil
		}
		if err == nil {
			err = names.check(hdr, limits)
		}
		if err != nil {
			return nil, archiveError(context.Background(), n, err)
		}
		if n >= limits.LayerEntries {
			return nil, fmt.Errorf("%w: archive with more than %d members", ErrLimit, n)
		}
		name := memberName(hdr.Name)
		switch hdr.Typeflag {
		case tar.TypeSymlink, tar.TypeLink:
			// One that leads out leads nowhere.
			if target := linkTarget(name, hdr.Linkname, hdr.Typeflag == tar.TypeLink); target != "" {
				members[name] = tarMember{link: target}
			}
		case tar.TypeReg:
			offset, err := sec.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			if offset+hdr.Size > sec.Size() {
				return nil, io.ErrUnexpectedEOF
			}
			members[name] = tarMember{offset: offset, size: hdr.Size}
		}
	}
}

// ImportDir imports an OCI image layout, an unpacked docker-archive or what skopeo calls "dir:".
func (s *Store) ImportDir(ctx context.Context, dir string, opts ImportOptions) ([]Image, error) {
	imgs, err := s.importDir(ctx, dir, opts)
	if err != nil {
		return nil, fmt.Errorf("importing image from %s: %w", dir, err)
	}
	return imgs, nil
}

func (s *Store) importDir(ctx context.Context, dir string, opts ImportOptions) ([]Image, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	st, err := s.newStage()
	if err != nil {
		return nil, err
	}
	defer st.close()
	return s.importFrom(ctx, st, &randomArchive{find: func(name string) (func() (io.ReadCloser, error), int64, error) {
		return findInDir(root, name)
	}}, opts, newEvents(opts.Progress))
}

// findInDir finds a regular file. Old docker-archives have links between their
// layers, which os.Root follows inside the directory only.
func findInDir(root *os.Root, name string) (func() (io.ReadCloser, error), int64, error) {
	if name == "" {
		return nil, 0, fs.ErrNotExist
	}
	info, err := root.Stat(filepath.FromSlash(name))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, 0, fs.ErrNotExist
		}
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%w: %s is no regular file", ErrInvalidArchive, name)
	}
	open := func() (io.ReadCloser, error) {
		f, err := root.Open(filepath.FromSlash(name))
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{bufio.NewReaderSize(f, 256<<10), f}, nil
	}
	return open, info.Size(), nil
}
