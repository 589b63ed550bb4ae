package main

import (
	"regexp"
	"testing"
)

func TestSelections(t *testing.T) {
	for _, c := range []struct {
		selection, name string
		in              bool
	}{
		{"node", "[sig-node] Pods should be updated [NodeConformance] [Conformance]", true},
		{"node", "[sig-node] Pods should be updated [Conformance]", false},
		{"network", "[sig-network] Services should serve endpoints on same port and different protocols [Conformance]", true},
		{"network", "[sig-network] Netpol NetworkPolicy between server and client should deny ingress access [Feature:NetworkPolicy]", false},
		{"network", "[sig-network] Services should work on Windows [Feature:Windows]", false},
		{"network-policy", "[sig-network] Netpol NetworkPolicy between server and client should deny ingress access [Feature:NetworkPolicy]", true},
		{"network-policy", "[sig-network] Netpol [LinuxOnly] NetworkPolicy between server and client using UDP should support it [Feature:NetworkPolicy]", true},
		{"storage", "[sig-storage] EmptyDir volumes should support (root,0644,default) [LinuxOnly] [NodeConformance] [Conformance]", true},
		{"storage", "[sig-storage] In-tree Volumes [Driver: hostPath] [Testpattern: Inline-volume (default fs)] volumes should store data", true},
		{"storage", "[sig-storage] In-tree Volumes [Driver: nfs] [Testpattern: Inline-volume (default fs)] volumes should store data", false},
	} {
		s := selections[c.selection]
		in := regexp.MustCompile(s.match).MatchString(c.name) && !regexp.MustCompile(s.not).MatchString(c.name)
		if in != c.in {
			t.Errorf("%s has %q: %v, want %v", c.selection, c.name, in, c.in)
		}
	}
}

func TestSerial(t *testing.T) {
	for name, want := range map[string]bool{"[sig-apps] Daemon set [Serial] should run": true, "[sig-node] Taints [Disruptive] evict": true, "[sig-node] Pods should run": false} {
		if serial(name) != want {
			t.Errorf("%s runs alone: %v, want %v", name, !want, want)
		}
	}
}
