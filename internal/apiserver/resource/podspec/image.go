package podspec

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// pullPolicy is the default of an image: a moving tag is pulled again. A
// reference that cannot be parsed counts as one that does not move, as upstream.
func pullPolicy(image string) corev1.PullPolicy {
	if tag(image) == "latest" {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

// tag is the tag of an image reference, "latest" if it has neither tag nor
// digest, and empty if it is not a reference.
func tag(image string) string {
	if image == "" {
		return ""
	}
	name, _, digested := strings.Cut(image, "@")
	tag := ""
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, tag = name[:i], name[i+1:]
		if tag == "" {
			return ""
		}
	}
	if !repository(name) {
		return ""
	}
	if tag == "" && !digested {
		return "latest"
	}
	return tag
}

// repository tells whether the name could be one: its path is lower case (the
// distribution specification); the part before the first slash may be a host.
func repository(name string) bool {
	if name == "" {
		return false
	}
	path := name
	if host, rest, ok := strings.Cut(name, "/"); ok && (strings.ContainsAny(host, ".:") || host == "localhost") {
		path = rest
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || strings.ContainsFunc(part, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
		}) {
			return false
		}
	}
	return true
}
