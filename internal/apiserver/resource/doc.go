// Package resource holds the behaviour of the built-in kinds: how they are
// defaulted, validated, stored, selected, printed, and which subresources
// they have.
//
// The external v1 types are stored and handled as they are. Each of them is
// registered in the scheme under its own version and again under its group's
// __internal version, so that the conversion to and from the hub version which
// k8s.io/apiserver asks for is the identity. The one exception is the Event of
// events.k8s.io, which shares its storage with the Event of the core group and
// is converted to it.
//
// One directory per kind or per family of kinds lies below; resources.go lists
// what is served.
package resource
