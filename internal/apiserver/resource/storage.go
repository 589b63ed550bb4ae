package resource

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// StorageSerializer wraps the serializer given to the storage factory so that
// objects come out of the store without apiVersion and kind, as internal types
// would. Without it every item of a JSON list would repeat them, which
// upstream's lists do not.
func StorageSerializer(s runtime.StorageSerializer) runtime.StorageSerializer {
	return storageSerializer{s}
}

type storageSerializer struct{ runtime.StorageSerializer }

func (s storageSerializer) DecoderToVersion(d runtime.Decoder, gv runtime.GroupVersioner) runtime.Decoder {
	return anonymousDecoder{s.StorageSerializer.DecoderToVersion(d, gv)}
}

type anonymousDecoder struct{ runtime.Decoder }

func (d anonymousDecoder) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	obj, gvk, err := d.Decoder.Decode(data, defaults, into)
	if err == nil && obj != nil {
		obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
	return obj, gvk, err
}
