package registry

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// certs gives the TLS settings of a directory of certs.d that has no
// hosts.toml, in the form that Docker gave it: each NAME.crt is a certificate
// authority, NAME.cert and NAME.key are a client's certificate. nil where there
// is none.
func (f Files) certs(host string) (*tls.Config, error) {
	if f.Certs == "" {
		return nil, nil
	}
	for _, name := range hostDirs(host) {
		dir := filepath.Join(f.Certs, name)
		entries, err := os.ReadDir(dir)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w: reading %w", ErrSettings, err)
		}
		files := certFiles(dir, entries)
		if files == nil {
			return nil, nil
		}
		config, err := files.load()
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrSettings, dir, err)
		}
		return config, nil
	}
	return nil, nil
}

func certFiles(dir string, entries []os.DirEntry) *tlsFiles {
	var out tlsFiles
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch base, ext := strings.TrimSuffix(path, filepath.Ext(path)), filepath.Ext(path); {
		case e.Name() == hostsName:
			return nil
		case ext == ".crt":
			out.ca = append(out.ca, path)
		case ext == ".cert":
			out.pairs = append(out.pairs, [2]string{path, base + ".key"})
		}
	}
	if out.ca == nil && out.pairs == nil {
		return nil
	}
	return &out
}
