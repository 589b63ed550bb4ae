// Package service is the Service kind: its defaults and validation, and the
// allocation of cluster addresses and node ports.
package service
