package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"

	"go.skiff.dev/skiff/internal/control"
	"go.skiff.dev/skiff/internal/controllers"
	"go.skiff.dev/skiff/internal/reconcile"
	"go.skiff.dev/skiff/internal/supervisor"
	"go.skiff.dev/skiff/internal/version"
)

// serveControl answers the `skiff` command.
func (d *daemon) serveControl(ctx context.Context, ready func()) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		status, err := d.status(r.Context())
		control.Answer(w, status, err)
	})
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, _ *http.Request) {
		d.stopPods.Store(true)
		control.Answer(w, struct{}{}, nil)
		d.end()
	})
	mux.HandleFunc("GET /inspect/components", func(w http.ResponseWriter, _ *http.Request) {
		control.Answer(w, d.organs.stages.snapshot(), nil)
	})
	mux.HandleFunc("GET /inspect/controllers", func(w http.ResponseWriter, _ *http.Request) {
		control.Answer(w, controllerRows(d.organs.controllers), nil)
	})
	mux.HandleFunc("GET /anatomy", d.serveAnatomy)
	mux.HandleFunc("GET /ping", func(w http.ResponseWriter, _ *http.Request) { control.Answer(w, struct{}{}, nil) })
	mux.Handle("/images", d.imageHandler())
	mux.Handle("/images/", d.imageHandler())
	return control.Serve(ctx, d.cfg.ControlSocket(), mux, ready)
}

func controllerRows(set *controllers.Set) []control.Controller {
	var rows []control.Controller
	for _, c := range set.List {
		row := control.Controller{Name: c.Name()}
		for _, a := range c.Reads() {
			row.Reads = append(row.Reads, accessText(a))
		}
		for _, a := range c.Writes() {
			row.Writes = append(row.Writes, accessText(a))
		}
		rows = append(rows, row)
	}
	return rows
}

// accessText writes "RESOURCE.GROUP", as kubectl names kinds.
func accessText(a reconcile.Access) string {
	if a.Group == "" {
		return a.Resource
	}
	return a.Resource + "." + a.Group
}

func (d *daemon) status(ctx context.Context) (control.Status, error) {
	v := version.Get()
	s := control.Status{
		Name: d.cfg.Name, Version: v.Skiff, Kubernetes: v.Kubernetes, State: "Starting",
		Daemon:     control.Process{PID: os.Getpid()},
		Kubeconfig: d.cfg.Kubeconfig, DataDir: d.cfg.DataDir, Uptime: time.Since(d.began),
		Node:  control.Node{Name: d.cfg.NodeName, State: "Unknown", Address: d.cfg.NodeIP.String(), API: fmt.Sprintf("https://%s:%d", d.cfg.NodeIP, d.cfg.APIPort)},
		Roots: control.Roots{Snapshotter: d.organs.snapshotter.name, Reason: d.organs.snapshotter.reason},
	}
	s.Supervisor.PID = d.supervisorPID(ctx)
	s.Daemon.PSS = pss(s.Daemon.PID)
	if s.Supervisor.PID > 0 {
		s.Supervisor.PSS = pss(s.Supervisor.PID)
		for _, pid := range pausePIDs(s.Supervisor.PID) {
			s.Memory.Pauses += pss(pid)
		}
	}
	s.Memory.Daemon, s.Memory.Supervisor = s.Daemon.PSS, s.Supervisor.PSS
	s.Memory.Total = s.Memory.Daemon + s.Memory.Supervisor + s.Memory.Pauses
	if !d.isReady.Load() {
		return s, nil
	}
	if d.stopPods.Load() {
		s.State = "Stopping"
		return s, nil
	}
	return s, d.addCluster(&s)
}

// addCluster adds what the informers know.
func (d *daemon) addCluster(s *control.Status) error {
	core, apps := d.organs.informers.Core().V1(), d.organs.informers.Apps().V1()
	node, err := core.Nodes().Lister().Get(d.cfg.NodeName)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if node != nil {
		addNode(s, node)
	}
	s.State = s.Node.State
	pods, errPods := core.Pods().Lister().List(labels.Everything())
	services, errServices := core.Services().Lister().List(labels.Everything())
	namespaces, errNamespaces := core.Namespaces().Lister().List(labels.Everything())
	deployments, errDeployments := apps.Deployments().Lister().List(labels.Everything())
	s.Counts = control.Counts{
		Pods: len(pods), Services: len(services), Namespaces: len(namespaces), Deployments: len(deployments),
		Images: len(d.organs.images.List()),
	}
	for _, p := range pods {
		if p.Status.Phase == corev1.PodRunning {
			s.Counts.RunningPods++
		}
		for _, c := range p.Status.ContainerStatuses {
			if c.State.Running != nil {
				s.Counts.Containers++
			}
		}
	}
	return errors.Join(errPods, errServices, errNamespaces, errDeployments)
}

func addNode(s *control.Status, node *corev1.Node) {
	for _, c := range node.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		s.Node.State = map[corev1.ConditionStatus]string{
			corev1.ConditionTrue: "Ready", corev1.ConditionFalse: "NotReady", corev1.ConditionUnknown: "Unknown",
		}[c.Status]
		if c.Status != corev1.ConditionTrue {
			s.Node.Reason = c.Reason + ": " + c.Message
		}
	}
}

// supervisorPID asks the supervisor itself; 0 where none answers.
func (d *daemon) supervisorPID(ctx context.Context) int {
	info, err := supervisor.NewClient(supervisor.Options{Socket: d.cfg.SupervisorSocket()}).Info(ctx)
	if err != nil {
		return 0
	}
	return info.PID
}
