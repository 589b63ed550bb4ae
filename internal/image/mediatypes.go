package image

import ocispec "github.com/opencontainers/image-spec/specs-go/v1"

// configTypes are the media types of a container image's configuration.
var configTypes = []string{
	ocispec.MediaTypeImageConfig,
	"application/vnd.docker.container.image.v1+json",
}

// layerTypes are the media types of layers. What a layer is compressed with is
// seen from its first bytes; many builders write the wrong type.
var layerTypes = []string{
	ocispec.MediaTypeImageLayer,
	ocispec.MediaTypeImageLayerGzip,
	ocispec.MediaTypeImageLayerZstd,
	"application/vnd.oci.image.layer.nondistributable.v1.tar",
	"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
	"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
	"application/vnd.docker.image.rootfs.diff.tar",
	"application/vnd.docker.image.rootfs.diff.tar.gzip",
	"application/vnd.docker.image.rootfs.diff.tar.zstd",
	"application/vnd.docker.image.rootfs.foreign.diff.tar",
	"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
}
