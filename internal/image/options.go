package image

import (
	"log/slog"
	"net/http"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"go.skiff.dev/skiff/internal/image/registry"
)

// Options are what a store needs from its owner.
type Options struct {
	// Dir holds the store. It is created with mode 0700.
	Dir string
	// Platform of the node; zero means that of this program.
	Platform ocispec.Platform
	// Limits on foreign content; zero fields take DefaultLimits.
	Limits Limits
	// BootID tells boots apart; empty means the kernel's random boot_id.
	BootID string
	// AllowDevices unpacks character and block devices of a layer. Without it
	// they are left out, as a container gets its devices from its spec.
	AllowDevices bool
	// Copy says that overlayfs does not work here: layers are kept in a form that
	// any file system can hold, and containers get copies. See Layers.Copy.
	Copy bool
	// Registries are the files with settings for registries; zero means none.
	Registries registry.Files
	// Transport reaches registries; nil means private ones with time-outs.
	Transport http.RoundTripper
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger; nil means slog.Default.
	Logger *slog.Logger
}

// ImportOptions say how an archive is read.
type ImportOptions struct {
	// Names are given to the image instead of those in the archive; only for
	// an archive with one image.
	Names []string
	// Platform to take out of a multi-platform archive; zero means the node's.
	Platform ocispec.Platform
	// Progress, if set, hears what happens. It is called from several
	// goroutines, one at a time, and must not block for long.
	Progress func(Event)
}

// Auth are a registry's credentials. The zero value is anonymous.
type Auth struct {
	Username, Password string
	// IdentityToken is an OAuth2 refresh token, RegistryToken a bearer token
	// that is sent as it is (both as docker's config.json and the CRI have them).
	IdentityToken, RegistryToken string
}

// PullOptions say how an image is fetched.
type PullOptions struct {
	// Auth, if not zero, is used for the reference's registry.
	Auth Auth
	// Secrets are pull secrets: contents of .dockerconfigjson or docker's
	// config.json (or the old .dockercfg). Matching entries are tried in turn,
	// the most specific first, as the kubelet does. Auth goes before them.
	Secrets [][]byte
	// PlainHTTP allows http to any host. Loopback hosts may always use it.
	PlainHTTP bool
	// InsecureSkipVerify accepts any TLS certificate.
	InsecureSkipVerify bool
	// Platform to take out of an index; zero means the node's.
	Platform ocispec.Platform
	// Progress, if set, hears what happens; see ImportOptions.
	Progress func(Event)
}

// Event is one step of an import or a pull.
type Event struct {
	// Action is one of "resolving", "downloading", "unpacking", "exists",
	// "done", and at the end "image".
	Action string `json:"action"`
	// Digest of the manifest or blob, or the image's id with "image".
	Digest string `json:"digest,omitempty"`
	// Done and Total are bytes; Total is 0 when it is not known.
	Done  int64 `json:"done,omitempty"`
	Total int64 `json:"total,omitempty"`
	// Names of the image, with "image".
	Names []string `json:"names,omitempty"`
}

// Limits bound what foreign content may cost.
type Limits struct {
	// Manifest bounds manifests, indexes and configurations, in bytes.
	Manifest int64
	// Layers bounds the layers of one image. Overlay itself stops at 500.
	Layers int
	// LayerBytes bounds one uncompressed layer, in bytes.
	LayerBytes int64
	// LayerEntries bounds the entries of one layer's tar.
	LayerEntries int
	// Ratio bounds the expansion of a compressed layer beyond its first GiB.
	Ratio int64
	// PathBytes bounds one path in a layer (PATH_MAX), NameBytes one component.
	PathBytes, NameBytes int
	// XattrBytes bounds the extended attributes of one entry.
	XattrBytes int64
	// ReserveBytes stay free on the store's file system.
	ReserveBytes int64
}

// DefaultLimits returns the limits that hold where Options sets none.
func DefaultLimits() Limits {
	return Limits{
		Manifest:     4 << 20,
		Layers:       256,
		LayerBytes:   64 << 30,
		LayerEntries: 2_000_000,
		Ratio:        250,
		PathBytes:    4096,
		NameBytes:    255,
		XattrBytes:   64 << 10,
		ReserveBytes: 64 << 20,
	}
}
