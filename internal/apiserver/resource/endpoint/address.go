// Package endpoint is the kinds Endpoints and EndpointSlice.
package endpoint

import (
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// validateReachable refuses addresses that cannot be an endpoint for anyone but
// the node itself. Agrees with upstream's ValidateEndpointIP.
func validateReachable(address string, path *field.Path) field.ErrorList {
	ip := netutils.ParseIPSloppy(address)
	if ip == nil {
		return field.ErrorList{field.Invalid(path, address, "must be a valid IP address")}
	}
	var errs field.ErrorList
	refuse := func(wrong bool, msg string) {
		if wrong {
			errs = append(errs, field.Invalid(path, address, msg))
		}
	}
	refuse(ip.IsUnspecified(), "may not be unspecified ("+address+")")
	refuse(ip.IsLoopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)")
	refuse(ip.IsLinkLocalUnicast(), "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
	refuse(ip.IsLinkLocalMulticast(), "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
	return errs
}
