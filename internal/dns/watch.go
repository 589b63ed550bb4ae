package dns

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

// watchFile calls changed whenever the file may have changed, until ctx ends
// and the returned channel is closed. It watches directories, because files
// like resolv.conf are replaced by rename; and that of the file itself as well
// as that of the file it is a link to.
func watchFile(ctx context.Context, path string, changed func()) (<-chan struct{}, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watching %s: %w", path, err)
	}
	watched := map[string]bool{filepath.Clean(path): true}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		watched[target] = true
	}
	for file := range watched {
		if err := w.Add(filepath.Dir(file)); err != nil {
			_ = w.Close()
			return nil, fmt.Errorf("watching %s: %w", file, err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = w.Close() }()
		for {
			select {
			case <-ctx.Done():
				return
			case e, ok := <-w.Events:
				if ok && watched[filepath.Clean(e.Name)] {
					changed()
				}
			case err := <-w.Errors:
				if err != nil {
					changed() // events were lost: look
				}
			}
		}
	}()
	return done, nil
}
