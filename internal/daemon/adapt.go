package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"os"

	"go.skiff.dev/skiff/internal/container"
	"go.skiff.dev/skiff/internal/podnet"
)

// podNetwork gives the container layer the network in the container layer's
// own words: neither of the two knows the other.
type podNetwork struct{ net *podnet.Network }

func (p podNetwork) Attach(ctx context.Context, id string, netns *os.File, opts container.NetworkOptions) (container.Attachment, error) {
	var wishes podnet.AttachOptions
	for _, m := range opts.PortMappings {
		mapping := podnet.PortMapping{HostPort: m.HostPort, ContainerPort: m.ContainerPort, Protocol: m.Protocol}
		if m.HostIP != "" {
			ip, err := netip.ParseAddr(m.HostIP)
			if err != nil {
				return container.Attachment{}, fmt.Errorf("reading host IP %q of host port %d: %w", m.HostIP, m.HostPort, err)
			}
			mapping.HostIP = ip
		}
		wishes.PortMappings = append(wishes.PortMappings, mapping)
	}
	a, err := p.net.Attach(ctx, id, netns, wishes)
	if err != nil {
		return container.Attachment{}, err
	}
	return container.Attachment{IPs: a.IPs, HostInterface: a.HostInterface}, nil
}

func (p podNetwork) Detach(ctx context.Context, id string) error { return p.net.Detach(ctx, id) }

func (p podNetwork) Recover(ctx context.Context, ids []string) error { return p.net.Recover(ctx, ids) }
