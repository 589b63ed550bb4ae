package image

import (
	"errors"
	"fmt"
	"strings"
)

// Errors that callers branch on. They are wrapped with what was asked for.
var (
	// ErrNotFound: no image of that name or id is in the store.
	ErrNotFound = errors.New("image not found")
	// ErrAmbiguous: a short id matches more than one image.
	ErrAmbiguous = errors.New("image id is ambiguous")
	// ErrInUse: a lease holds the image.
	ErrInUse = errors.New("image is in use")
	// ErrInvalidReference: the text is no image reference.
	ErrInvalidReference = errors.New("invalid image reference")
	// ErrInvalidArchive: what was imported is no image archive, or a broken one.
	ErrInvalidArchive = errors.New("invalid image archive")
	// ErrPlatform: the image is not for this node's platform.
	ErrPlatform = errors.New("image is for another platform")
	// ErrDigest: content does not have the digest that names it.
	ErrDigest = errors.New("digest mismatch")
	// ErrLimit: content is larger than this store accepts.
	ErrLimit = errors.New("image limit exceeded")
	// ErrNoSpace: the file system has no room for the image.
	ErrNoSpace = errors.New("no space for image")
	// ErrUnauthorized: the registry wants credentials, or other ones.
	ErrUnauthorized = errors.New("registry refused access")
	// ErrUnavailable: the registry cannot be reached, or limits pulls.
	ErrUnavailable = errors.New("registry unavailable")
	// ErrCorrupt: what is on disk is not what was imported.
	ErrCorrupt = errors.New("image is corrupt on disk")
)

// InUseError says who holds an image. errors.Is(err, ErrInUse) holds.
type InUseError struct {
	Ref  string
	Keys []string
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("removing image %q: it is in use by %s; remove these first", e.Ref, strings.Join(e.Keys, ", "))
}

// Is makes errors.Is(err, ErrInUse) true.
func (e *InUseError) Is(target error) bool { return target == ErrInUse }
