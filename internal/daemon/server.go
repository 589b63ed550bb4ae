package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"

	"go.skiff.dev/skiff/internal/apiserver"
	"go.skiff.dev/skiff/internal/controllers"
	"go.skiff.dev/skiff/internal/kernel/durable"
	"go.skiff.dev/skiff/internal/lifecycle"
	"go.skiff.dev/skiff/internal/pki"
	"go.skiff.dev/skiff/internal/scheduler"
	"go.skiff.dev/skiff/internal/store"
)

// serverComponents lists the control plane in start order.
func (d *daemon) serverComponents() []lifecycle.Component {
	o := &d.organs
	return []lifecycle.Component{
		o.store.Component(),
		o.api.Component(),
		{Name: "kubeconfig", Needs: []string{"apiserver"}, Run: d.writeKubeconfig},
		{Name: "informers", Needs: []string{"apiserver"}, Run: d.runInformers},
		o.controllers.Component("informers"),
		o.scheduler.Component("informers"),
	}
}

// makeServer makes the organs of the control plane. Nothing runs yet.
func (d *daemon) makeServer(ctx context.Context) error {
	o := &d.organs
	var err error
	if o.authority, err = pki.Open(d.cfg.PKIDir()); err != nil {
		return err
	}
	o.store = store.New(store.Options{Dir: d.cfg.EtcdDir(), Socket: d.cfg.EtcdSocket(), Log: d.log})
	o.api, err = apiserver.New(ctx, apiserver.Options{
		Store:         o.store,
		Authority:     o.authority,
		Port:          d.cfg.APIPort,
		NodeName:      d.cfg.NodeName,
		NodeIP:        d.cfg.NodeIP,
		ServiceCIDR:   d.cfg.ServiceCIDR,
		NodePorts:     d.cfg.NodePorts,
		ClusterDomain: d.cfg.ClusterDomain,
		Log:           d.log,
	})
	if err != nil {
		return err
	}
	// One set of informers for the whole process: each object is cached once.
	o.informers = o.api.Informers()
	if err := d.makeControllers(); err != nil {
		return err
	}
	schedulerClient, err := d.clientOf("system:kube-scheduler")
	if err != nil {
		return err
	}
	o.scheduler, err = scheduler.New(scheduler.Deps{Client: schedulerClient, Informers: o.informers, Log: d.log})
	return err
}

func (d *daemon) makeControllers() error {
	o := &d.organs
	const user = "system:kube-controller-manager"
	client, err := d.clientOf(user)
	if err != nil {
		return err
	}
	metaConfig := metadata.ConfigFor(o.api.ClientConfig(user))
	meta, err := metadata.NewForConfig(metaConfig)
	if err != nil {
		return fmt.Errorf("making a metadata client: %w", err)
	}
	o.controllers, err = controllers.New(controllers.Deps{
		Client: client, Metadata: meta, Informers: o.informers, RootCA: o.authority.CAPEM(), Log: d.log,
	})
	return err
}

// clientOf makes a client that calls the API server inside this process.
func (d *daemon) clientOf(user string, groups ...string) (kubernetes.Interface, error) {
	client, err := kubernetes.NewForConfig(d.organs.api.ClientConfig(user, groups...))
	if err != nil {
		return nil, fmt.Errorf("making the client of %s: %w", user, err)
	}
	return client, nil
}

// runInformers starts the informers that the organs asked for when they were
// made, and is ready when each has the state of the cluster.
func (d *daemon) runInformers(ctx context.Context, ready func()) error {
	factory := d.organs.informers
	factory.Start(ctx.Done())
	if err := factory.WaitForCacheSyncWithContext(ctx).AsError(); err != nil {
		return fmt.Errorf("reading the cluster's objects: %w", err)
	}
	ready()
	<-ctx.Done()
	factory.Shutdown()
	return nil
}

// writeKubeconfig writes the administrator's kubeconfig, mode 0600, replacing
// it in one step.
func (d *daemon) writeKubeconfig(ctx context.Context, ready func()) error {
	server := "https://" + netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(d.cfg.APIPort)).String()
	data, err := d.organs.api.AdminKubeconfig(d.cfg.TableName(), server)
	if err != nil {
		return err
	}
	file := d.cfg.Kubeconfig
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("making the directory of the kubeconfig: %w", err)
	}
	if err := durable.WriteFile(file, data, 0o600); err != nil {
		return err
	}
	ready()
	<-ctx.Done()
	return nil
}
