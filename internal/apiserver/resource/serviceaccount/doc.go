// Package serviceaccount is the ServiceAccount kind and its token subresource.
package serviceaccount
