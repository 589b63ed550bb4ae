// Package image keeps container images on this node: it names them, imports
// archives, pulls from registries, unpacks layers, hands read-only layers to
// the container layer, and collects what nobody uses.
//
// # What is on disk
//
//	DIR/images.json        every image: id, names, layers; replaced atomically
//	DIR/blobs/sha256/HEX   manifests and configurations (small), by digest
//	DIR/layers/N/fs        one unpacked layer in overlay form; N is short, so
//	                       that 128 of them fit in one mount option page
//	DIR/layers/N/layer.json  its diff id, the compressed digests it came as, sizes
//	DIR/layers/N/frame.zst   what the layer's tar had besides file contents
//	DIR/merged/HEX         where overlay does not work: all layers of an image in
//	                       one tree, made of further names of their files
//	DIR/empty              nothing: what an image without layers is mounted from
//	DIR/leases/            one file per user of an image, for this boot
//	DIR/used/HEX           an empty file whose time is the image's last use
//	DIR/partial/HEX        beginnings of compressed layers whose download broke off
//	DIR/tmp/               imports and pulls under way; emptied by Open
//
// Compressed layers are not kept: an unpacked layer and its frame give back
// the exact bytes of the layer's tar, which is what verification after an
// unclean boot hashes and what saving an image writes.
//
// # What holds at every instant
//
// A directory under layers is whole: it was verified against its digests,
// synced, then renamed. An image in images.json has all its layers and blobs.
// Whatever else a crash leaves is swept by Open.
package image

import (
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is one image in the store. It is a copy: changing it changes nothing.
type Image struct {
	// ID is the digest of the configuration, "sha256:" and 64 hex digits,
	// which is what Docker and the CRI call an image's id.
	ID string `json:"id"`
	// Tags are full names with a tag, such as "docker.io/library/busybox:latest".
	Tags []string `json:"tags,omitempty"`
	// Digests are full names with a manifest digest, such as
	// "docker.io/library/busybox@sha256:...".
	Digests []string `json:"digests,omitempty"`
	// ByDigest are those of Digests by which the image was pulled. They are
	// names that somebody wanted; the others say what a tag meant.
	ByDigest []string `json:"byDigest,omitempty"`
	// Size is the size of the unpacked layers and the blobs in bytes.
	Size int64 `json:"size"`
	// Platform is what the image was built for.
	Platform ocispec.Platform `json:"platform"`
	// Config is what a container of this image runs as by default.
	Config ocispec.ImageConfig `json:"config"`
	// Manifest is the digest of the image's own manifest (never an index).
	Manifest string `json:"manifest"`
	// DiffIDs are the digests of the uncompressed layers, bottom first.
	DiffIDs []string `json:"diffIDs"`
	// Created is the build time that the configuration claims.
	Created time.Time `json:"created,omitzero"`
	// Imported is when the image came into this store.
	Imported time.Time `json:"imported"`
	// LastUsed is when Prepare last handed the image out or the last container
	// let go of it (zero: never).
	LastUsed time.Time `json:"lastUsed,omitzero"`
	// Pinned images are never collected.
	Pinned bool `json:"pinned,omitempty"`
}

// Layers is an image as an overlay mount sees it, or merged into one tree.
type Layers struct {
	// Lower are absolute directories, top first, ready for lowerdir. With many
	// layers the joined string passes one page: use fsconfig's "lowerdir+"
	// (Linux 6.5), or mount relative to Dir, where each is "N/fs".
	Lower []string
	// Dir is the directory that holds all of Lower.
	Dir string
	// Copy says that Lower is one whole tree, whose files other images share, and
	// that a container's root is to be a copy of it (Store.CopyRoot): overlayfs
	// does not work here, or the layers came when it did not.
	Copy bool
}

// FsInfo is what the store uses on its file system.
type FsInfo struct {
	Dir       string
	UsedBytes int64
	Inodes    int64
}
