package reconcile

// Access names what a controller may do to one resource. Controllers declare
// theirs as data; the wiring prints it and the roles are generated from it.
type Access struct {
	Group    string   `json:"group"`
	Resource string   `json:"resource"`
	Verbs    []string `json:"verbs"`
}

// Watches is the access of a controller that keeps a cache of the resource.
func Watches(group, resource string) Access {
	return Access{Group: group, Resource: resource, Verbs: []string{"get", "list", "watch"}}
}

// Does is an access with the given verbs. Resource may name a subresource, as
// in "pods/status".
func Does(group, resource string, verbs ...string) Access {
	return Access{Group: group, Resource: resource, Verbs: verbs}
}

// Records is the access of a controller that records events.
func Records() Access { return Does("", "events", "create", "patch", "update") }
