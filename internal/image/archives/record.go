package archives

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"go.skiff.dev/skiff/internal/image"
)

// identity tells whether a file is the one that it was. The change time
// (ctime) is what no program can set back; times are nanoseconds since 1970.
type identity struct {
	Inode uint64 `json:"inode"`
	Size  int64  `json:"size"`
	Mtime int64  `json:"mtime"`
	Ctime int64  `json:"ctime"`
}

func identityOf(info os.FileInfo) identity {
	id := identity{Size: info.Size(), Mtime: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		id.Inode, id.Ctime = st.Ino, st.Ctim.Nano()
	}
	return id
}

// entry is what an archive held when it was imported.
type entry struct {
	identity
	Images []string `json:"images"`
}

// recordDoc is the record on disk.
type recordDoc struct {
	Version  int              `json:"version"`
	Archives map[string]entry `json:"archives"`
}

// load reads the record. Without it every archive is read once more, which is
// cheap where the store has the layers.
func (d *Directory) load() map[string]entry {
	var doc recordDoc
	data, err := os.ReadFile(d.opts.Record)
	if err == nil {
		err = json.Unmarshal(data, &doc)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.log.Warn("reading the record of archives; all of them are read again", "err", err)
	}
	if err != nil || doc.Archives == nil {
		return map[string]entry{}
	}
	return doc.Archives
}

// save replaces the record. It is not synced: what it says is checked against
// the files and the store.
func (d *Directory) save() {
	data, err := json.Marshal(recordDoc{Version: 1, Archives: d.known})
	if err == nil {
		err = os.WriteFile(d.opts.Record+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(d.opts.Record+".new", d.opts.Record)
	}
	if err != nil {
		d.log.Warn("writing the record of archives", "err", err)
	}
}

// unpin lets go of the images of an archive that no other archive has.
func (d *Directory) unpin(old entry) {
	for _, id := range old.Images {
		if d.holds(id) {
			continue
		}
		err := d.opts.Store.Pin(id, false)
		if err != nil && !errors.Is(err, image.ErrNotFound) {
			d.log.Warn("unpinning image of an archive", "image", id, "err", err)
		}
	}
}

func (d *Directory) holds(id string) bool {
	for _, e := range d.known {
		if slices.Contains(e.Images, id) {
			return true
		}
	}
	return false
}
