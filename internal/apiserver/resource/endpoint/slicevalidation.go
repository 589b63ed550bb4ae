package endpoint

import (
	"context"

	discoveryv1 "k8s.io/api/discovery/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

const (
	maxEndpoints = 1000
	maxPorts     = 20000
	maxAddresses = 100
	maxTopology  = 16
	maxHints     = 8
)

// validateSlice agrees with upstream's ValidateEndpointSliceCreate.
func validateSlice(_ context.Context, s *discoveryv1.EndpointSlice) field.ErrorList {
	errs := validateAddressType(s.AddressType)
	errs = append(errs, validateEndpoints(s.Endpoints, s.AddressType, field.NewPath("endpoints"))...)
	return append(errs, validateSlicePorts(s.Ports, field.NewPath("ports"))...)
}

func validateSliceUpdate(ctx context.Context, s, old *discoveryv1.EndpointSlice) field.ErrorList {
	errs := validateSlice(ctx, s)
	return append(errs, apivalidation.ValidateImmutableField(s.AddressType, old.AddressType, field.NewPath("addressType"))...)
}

func addressTypes() sets.Set[discoveryv1.AddressType] {
	return sets.New(discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)
}

func validateAddressType(t discoveryv1.AddressType) field.ErrorList {
	path := field.NewPath("addressType")
	switch {
	case t == "":
		return field.ErrorList{field.Required(path, "")}
	case !addressTypes().Has(t):
		return field.ErrorList{field.NotSupported(path, t, sets.List(addressTypes()))}
	}
	return nil
}

func validateEndpoints(endpoints []discoveryv1.Endpoint, t discoveryv1.AddressType, path *field.Path) field.ErrorList {
	if len(endpoints) > maxEndpoints {
		return field.ErrorList{field.TooMany(path, len(endpoints), maxEndpoints)}
	}
	var errs field.ErrorList
	for i := range endpoints {
		e, p := &endpoints[i], path.Index(i)
		addresses := p.Child("addresses")
		switch {
		case len(e.Addresses) == 0:
			errs = append(errs, field.Required(addresses, "must contain at least 1 address"))
		case len(e.Addresses) > maxAddresses:
			errs = append(errs, field.TooMany(addresses, len(e.Addresses), maxAddresses))
		}
		for j, a := range e.Addresses {
			errs = append(errs, validateSliceAddress(a, t, addresses.Index(j))...)
		}
		errs = append(errs, validateEndpointRest(e, p)...)
	}
	return errs
}

func validateSliceAddress(a string, t discoveryv1.AddressType, path *field.Path) field.ErrorList {
	switch t {
	case discoveryv1.AddressTypeIPv4:
		return validateFamily(a, path, false)
	case discoveryv1.AddressTypeIPv6:
		return validateFamily(a, path, true)
	case discoveryv1.AddressTypeFQDN:
		return validation.IsFullyQualifiedDomainName(path, a)
	}
	return nil
}

func validateFamily(a string, path *field.Path, want6 bool) field.ErrorList {
	if errs := validation.IsValidIPForLegacyField(path, a, true, nil); len(errs) > 0 {
		return errs
	}
	is6 := netutils.IsIPv6String(a)
	switch {
	case want6 && !is6:
		return field.ErrorList{field.Invalid(path, a, "must be an IPv6 address")}
	case !want6 && is6:
		return field.ErrorList{field.Invalid(path, a, "must be an IPv4 address")}
	}
	return validateReachable(a, path)
}

func validateEndpointRest(e *discoveryv1.Endpoint, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if e.NodeName != nil {
		for _, msg := range validation.IsDNS1123Subdomain(*e.NodeName) {
			errs = append(errs, field.Invalid(path.Child("nodeName"), *e.NodeName, msg))
		}
	}
	topology := path.Child("deprecatedTopology")
	if len(e.DeprecatedTopology) > maxTopology {
		errs = append(errs, field.TooMany(topology, len(e.DeprecatedTopology), maxTopology))
	}
	for key, value := range e.DeprecatedTopology {
		for _, msg := range validation.IsQualifiedName(key) {
			errs = append(errs, field.Invalid(topology, key, msg))
		}
		for _, msg := range validation.IsValidLabelValue(value) {
			errs = append(errs, field.Invalid(topology.Key(key), value, msg))
		}
	}
	if e.Hostname != nil {
		for _, msg := range validation.IsDNS1123Label(*e.Hostname) {
			errs = append(errs, field.Invalid(path.Child("hostname"), *e.Hostname, msg))
		}
	}
	if e.Hints != nil {
		errs = append(errs, validateHints(e.Hints, path.Child("hints"))...)
	}
	return errs
}

func validateHints(h *discoveryv1.EndpointHints, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	zones := path.Child("forZones")
	if len(h.ForZones) > maxHints {
		return append(errs, field.TooMany(zones, len(h.ForZones), maxHints))
	}
	check := func(path *field.Path, seen sets.Set[string], name string, msgs []string) {
		if seen.Has(name) {
			errs = append(errs, field.Duplicate(path, name))
		}
		seen.Insert(name)
		for _, msg := range msgs {
			errs = append(errs, field.Invalid(path, name, msg))
		}
	}
	seen := sets.New[string]()
	for i, z := range h.ForZones {
		check(zones.Index(i).Child("name"), seen, z.Name, validation.IsValidLabelValue(z.Name))
	}
	nodes := path.Child("forNodes")
	if len(h.ForNodes) > maxHints {
		return append(errs, field.TooMany(nodes, len(h.ForNodes), maxHints))
	}
	seen = sets.New[string]()
	for i, n := range h.ForNodes {
		check(nodes.Index(i).Child("name"), seen, n.Name, validation.IsDNS1123Subdomain(n.Name))
	}
	return errs
}

func validateSlicePorts(ports []discoveryv1.EndpointPort, path *field.Path) field.ErrorList {
	if len(ports) > maxPorts {
		return field.ErrorList{field.TooMany(path, len(ports), maxPorts)}
	}
	var errs field.ErrorList
	names := sets.New[string]()
	for i := range ports {
		p, at := &ports[i], path.Index(i)
		if p.Name != nil {
			if *p.Name != "" {
				for _, msg := range validation.IsDNS1123Label(*p.Name) {
					errs = append(errs, field.Invalid(at.Child("name"), *p.Name, msg))
				}
			}
			if names.Has(*p.Name) {
				errs = append(errs, field.Duplicate(at.Child("name"), *p.Name))
			}
			names.Insert(*p.Name)
		}
		switch {
		case p.Protocol == nil:
			errs = append(errs, field.Required(at.Child("protocol"), ""))
		case !protocols().Has(*p.Protocol):
			errs = append(errs, field.NotSupported(at.Child("protocol"), *p.Protocol, sets.List(protocols())))
		}
		if p.Port != nil {
			for _, msg := range validation.IsValidPortNum(int(*p.Port)) {
				errs = append(errs, field.Invalid(at.Child("port"), *p.Port, msg))
			}
		}
		if p.AppProtocol != nil {
			for _, msg := range validation.IsQualifiedName(*p.AppProtocol) {
				errs = append(errs, field.Invalid(at.Child("appProtocol"), *p.AppProtocol, msg))
			}
		}
	}
	return errs
}
