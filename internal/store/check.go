package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

// checkDatabase opens the database file once, for reading. etcd opens it on a
// goroutine of its own and panics there if it can't, which nobody can catch.
func checkDatabase(dir string) error {
	path := filepath.Join(dir, "member", "snap", "db")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	// The flock is ours to have: lockDir has made sure that we are alone. A
	// time-out keeps a foreign reader from stopping us for good.
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return fmt.Errorf("opening the database %s: %w", path, err)
	}
	return db.Close()
}
