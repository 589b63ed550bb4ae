package daemon

import (
	"context"
	"net/netip"
	"path/filepath"

	"go.skiff.dev/skiff/internal/container"
	"go.skiff.dev/skiff/internal/dns"
	"go.skiff.dev/skiff/internal/image"
	"go.skiff.dev/skiff/internal/kubelet"
	"go.skiff.dev/skiff/internal/lifecycle"
	"go.skiff.dev/skiff/internal/ocibin"
	"go.skiff.dev/skiff/internal/podnet"
	"go.skiff.dev/skiff/internal/proxy"
	"go.skiff.dev/skiff/internal/supervisor"
	"go.skiff.dev/skiff/internal/version"
)

// nodeComponents lists the node in start order.
func (d *daemon) nodeComponents() []lifecycle.Component {
	o := &d.organs
	return []lifecycle.Component{
		{Name: "network", Run: d.runNetwork},
		{Name: "images", Run: d.runImages},
		{Name: "archives", Needs: []string{"images"}, Run: d.runArchives},
		o.containers.Component(),
		container.NewServer(o.containers, d.cfg.CRISocket(), webSockets{}).Component(),
		// Stops the pods when `skiff down` asked for it: after the node agent
		// has let go of them, before the container layer ends.
		{Name: "pods", Needs: []string{"container"}, Run: d.runPods, StopTimeout: d.cfg.StopTimeout},
		needing(o.proxy.Component(), "network", "informers"),
		o.dns.Component(),
		o.kubelet.Component(),
		{Name: "control", Run: d.serveControl},
	}
}

// needing adds needs to a component.
func needing(c lifecycle.Component, needs ...string) lifecycle.Component {
	c.Needs = append(append([]string(nil), c.Needs...), needs...)
	return c
}

// makeNode makes the organs of the node. Nothing runs yet.
func (d *daemon) makeNode() error {
	o := &d.organs
	var err error
	if o.snapshotter, err = d.chooseSnapshotter(); err != nil {
		return err
	}
	if o.images, err = image.Open(image.Options{Dir: d.cfg.ImageDir(), Copy: o.snapshotter.native(), Registries: d.registries(), Logger: d.log}); err != nil {
		return err
	}
	o.room = make(room, 1)
	d.makeArchives()
	o.network, err = podnet.New(podnet.Options{
		Name: d.cfg.Name, Bridge: d.cfg.BridgeName(), LinkPrefix: d.cfg.LinkPrefix(), Table: d.cfg.TableName(),
		PodCIDR: d.podCIDR(), ClusterCIDR: d.cfg.ClusterCIDR, ServiceCIDR: d.cfg.ServiceCIDR,
		NodeIP: d.cfg.NodeIP, StateDir: d.cfg.NetworkDir(), Log: d.log,
	})
	if err != nil {
		return explainNetwork(err)
	}
	o.containers, err = container.New(container.Deps{
		Dir: d.cfg.ContainerDir(), RunDir: d.cfg.RunDir, CgroupParent: d.cfg.CgroupParent(),
		Supervisor: supervisor.Options{
			Socket: d.cfg.SupervisorSocket(), Dir: filepath.Join(d.cfg.RunDir, "supervisor"), Exe: ocibin.Open,
			Cgroup: d.cfg.CgroupParent() + "/supervisor",
		},
		LogMaxSize: d.cfg.LogMaxSize, LogMaxFiles: d.cfg.LogMaxFiles, Handlers: d.cfg.RuntimeHandlers,
		Images: o.images, Network: podNetwork{o.network}, Version: version.Skiff, Needs: []string{"network"}, Log: d.log,
	})
	if err != nil {
		return err
	}
	if err := d.makeServices(); err != nil {
		return err
	}
	return d.makeKubelet()
}

// nodeShare is the mask of a node's share of the pods' range: 1,022 addresses,
// so that pods which replace others never wait for an address, and 64 nodes in
// a /16.
const nodeShare = 22

// podCIDR is this node's share of the pods' range: the first one, or the whole
// range where it is no larger.
func (d *daemon) podCIDR() netip.Prefix {
	if d.cfg.ClusterCIDR.Bits() >= nodeShare {
		return d.cfg.ClusterCIDR
	}
	return netip.PrefixFrom(d.cfg.ClusterCIDR.Addr(), nodeShare)
}

func (d *daemon) makeServices() error {
	o := &d.organs
	client, err := d.clientOf("system:skiff-dns")
	if err != nil {
		return err
	}
	gateway := d.podCIDR().Addr().Next()
	o.dns = dns.New(dns.Deps{
		Informers: o.informers, Client: client, Domain: d.cfg.ClusterDomain, Listen: gateway, ClusterIP: d.cfg.ClusterDNS,
		ServiceCIDR: d.cfg.ServiceCIDR, ClusterCIDR: d.cfg.ClusterCIDR, Needs: []string{"network", "informers"}, Log: d.log,
	})
	o.proxy = proxy.New(proxy.Deps{
		Informers: o.informers, NodeName: d.cfg.NodeName, NodeIP: d.cfg.NodeIP,
		Table: d.cfg.TableName(), Bridge: d.cfg.BridgeName(),
		ClusterCIDR: d.cfg.ClusterCIDR, ServiceCIDR: d.cfg.ServiceCIDR, Local: d.dnsService, Log: d.log,
	})
	return nil
}

// dnsService leads from the cluster's DNS address to the server of this node.
// It needs no object of the API, so names are answered before any pod exists.
func (d *daemon) dnsService() []proxy.LocalService {
	front := netip.AddrPortFrom(d.cfg.ClusterDNS, 53)
	back := []netip.AddrPort{d.organs.dns.Address()}
	return []proxy.LocalService{
		{Name: "kube-system/kube-dns:dns", Frontend: front, Protocol: "UDP", Backends: back},
		{Name: "kube-system/kube-dns:dns-tcp", Frontend: front, Protocol: "TCP", Backends: back},
	}
}

func (d *daemon) makeKubelet() error {
	o := &d.organs
	client, err := d.clientOf("system:node:"+d.cfg.NodeName, "system:nodes")
	if err != nil {
		return err
	}
	api := d.cfg.ServiceCIDR.Addr().Next()
	o.kubelet, err = kubelet.New(kubelet.Deps{
		Client: client, Informers: o.informers,
		Runtime: o.containers, Images: o.containers, Events: o.containers.Events, Streaming: o.containers.Streaming(),
		NodeName: d.cfg.NodeName, NodeIPs: []netip.Addr{d.cfg.NodeIP}, PodCIDR: d.podCIDR(), Port: d.cfg.KubeletPort, MaxPods: d.cfg.MaxPods,
		Version:    version.Skiff,
		NodeLabels: map[string]string{"node-role.kubernetes.io/control-plane": ""},
		DataDir:    d.cfg.KubeletDir(), LogDir: d.cfg.LogDir,
		StaticPodDir: filepath.Join(filepath.Dir(d.cfg.Kubeconfig), "static-pods"),
		CgroupParent: d.cfg.CgroupParent(),
		ClusterDNS:   d.cfg.ClusterDNS, ClusterDomain: d.cfg.ClusterDomain,
		APIServer: netip.AddrPortFrom(api, 443),
		TLS:       d.nodeTLS(),
		Drain:     o.proxy.Drain, AwaitImages: o.archives.Await,
		Needs: []string{"informers", "pods", "archives", "proxy", "dns"},
		Log:   d.log,
	})
	return err
}

func (d *daemon) runNetwork(ctx context.Context, ready func()) error {
	if err := d.organs.network.Start(ctx); err != nil {
		return explainNetwork(err)
	}
	d.rangesSeen()
	if err := d.organs.dns.Listen(); err != nil {
		return err
	}
	for _, w := range d.organs.network.Warnings() {
		d.report(Progress{Warning: w})
	}
	ready()
	<-ctx.Done()
	return d.organs.network.Close()
}
