// Package controllers is the table of contents of skiff's controllers: one
// literal list, in the order in which an object's life touches them. Each
// controller has a directory of its own, owns what its package doc says, and
// declares what it reads and writes as data, from which the wiring prints its
// graph and the roles are generated. Controllers never import each other; they
// meet only in the API.
package controllers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"go.skiff.dev/skiff/internal/controllers/deployment"
	"go.skiff.dev/skiff/internal/controllers/endpoints"
	"go.skiff.dev/skiff/internal/controllers/endpointslice"
	"go.skiff.dev/skiff/internal/controllers/garbage"
	"go.skiff.dev/skiff/internal/controllers/mirror"
	"go.skiff.dev/skiff/internal/controllers/namespace"
	"go.skiff.dev/skiff/internal/controllers/nodehealth"
	"go.skiff.dev/skiff/internal/controllers/podgc"
	"go.skiff.dev/skiff/internal/controllers/replicaset"
	"go.skiff.dev/skiff/internal/controllers/rootca"
	"go.skiff.dev/skiff/internal/controllers/serviceaccount"
	"go.skiff.dev/skiff/internal/controllers/tainteviction"
	"go.skiff.dev/skiff/internal/lifecycle"
	"go.skiff.dev/skiff/internal/reconcile"
)

// Deps is what the controllers see of the world.
type Deps struct {
	// Client acts as system:kube-controller-manager, without a rate limit.
	Client kubernetes.Interface
	// Metadata is the same identity, for the garbage collector and the
	// deletion of namespaces, which handle kinds they do not know.
	Metadata metadata.Interface
	// Informers is shared by the whole process, with resync 0. New registers
	// handlers and indexes, so the caller starts the factory after New; the
	// controllers' Run starts what was added since.
	Informers informers.SharedInformerFactory
	// RootCA is the PEM bundle published in each namespace as kube-root-ca.crt.
	RootCA []byte

	// Optional from here on.
	Clock   clock.WithDelayedExecution
	Log     *slog.Logger
	Metrics *reconcile.Metrics
	// Recorder returns a recorder of events for a component's name; by default
	// the set records events through Client.
	Recorder func(component string) record.EventRecorder
}

// Controller is one controller, ready to run.
type Controller interface {
	// Name is unique, and is the controller's name in logs, metrics and roles.
	Name() string
	// Reads and Writes declare the access the controller needs.
	Reads() []reconcile.Access
	Writes() []reconcile.Access
	// Run works until ctx ends and then finishes the runs in progress.
	Run(ctx context.Context) error
}

// Set is all controllers, built.
type Set struct {
	List   []Controller
	deps   Deps
	events *events
}

// Component runs the set. needs names the components that must be ready first:
// the API server, and the informers where they are a component of their own.
func (s *Set) Component(needs ...string) lifecycle.Component {
	return lifecycle.Component{Name: "controllers", Needs: needs, Run: s.Run}
}

// Run runs all controllers until ctx ends. A controller that returns an error
// ends the others.
func (s *Set) Run(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if s.events != nil {
		defer s.events.start(s.deps.Client)()
	}
	s.deps.Informers.Start(ctx.Done())
	var wg sync.WaitGroup
	errs := make([]error, len(s.List))
	for i, c := range s.List {
		wg.Go(func() {
			if err := c.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				errs[i] = fmt.Errorf("running controller %q: %w", c.Name(), err)
				cancel(errs[i])
			}
		})
	}
	ready()
	wg.Wait()
	return errors.Join(errs...)
}

// New builds all controllers: the table of contents.
func New(d Deps) (*Set, error) {
	s := &Set{}
	if d.Recorder == nil {
		s.events = newEvents()
		d.Recorder = s.events.recorder
	}
	s.deps = d
	named := options[cache.ObjectName](d)
	global := options[string](d)
	steps := []func() (Controller, error){
		func() (Controller, error) {
			return namespace.New(namespace.Deps{Client: d.Client, Metadata: d.Metadata, Informers: d.Informers, Options: global})
		},
		func() (Controller, error) {
			return serviceaccount.New(serviceaccount.Deps{Client: d.Client, Informers: d.Informers, Options: global})
		},
		func() (Controller, error) {
			return rootca.New(rootca.Deps{Client: d.Client, Informers: d.Informers, RootCA: d.RootCA, Options: global})
		},
		func() (Controller, error) {
			return deployment.New(deployment.Deps{Client: d.Client, Informers: d.Informers, Recorder: d.Recorder(deployment.Name), Options: named})
		},
		func() (Controller, error) {
			return replicaset.New(replicaset.Deps{Client: d.Client, Informers: d.Informers, Recorder: d.Recorder(replicaset.Name), Options: named})
		},
		func() (Controller, error) {
			return endpointslice.New(endpointslice.Deps{Client: d.Client, Informers: d.Informers, Recorder: d.Recorder(endpointslice.Name), Options: named})
		},
		func() (Controller, error) {
			return endpoints.New(endpoints.Deps{Client: d.Client, Informers: d.Informers, Recorder: d.Recorder(endpoints.Name), Options: named})
		},
		func() (Controller, error) {
			return mirror.New(mirror.Deps{Client: d.Client, Informers: d.Informers, Options: named})
		},
		func() (Controller, error) {
			return nodehealth.New(nodehealth.Deps{Client: d.Client, Informers: d.Informers, Recorder: d.Recorder(nodehealth.Name), Options: global})
		},
		func() (Controller, error) {
			return tainteviction.New(tainteviction.Deps{Client: d.Client, Informers: d.Informers, Recorder: d.Recorder(tainteviction.Name), Options: named})
		},
		func() (Controller, error) {
			return podgc.New(podgc.Deps{Client: d.Client, Informers: d.Informers, Options: global})
		},
		func() (Controller, error) {
			return garbage.New(garbage.Deps{
				Client: d.Client, Metadata: d.Metadata, Informers: d.Informers, Recorder: d.Recorder(garbage.Name), Options: options[types.UID](d),
			})
		},
	}
	for _, build := range steps {
		c, err := build()
		if err != nil {
			return nil, fmt.Errorf("building the controllers: %w", err)
		}
		s.List = append(s.List, c)
	}
	return s, nil
}

// options are what all loops share; each controller adds its own part.
func options[K comparable](d Deps) reconcile.Options[K] {
	return reconcile.Options[K]{Clock: d.Clock, Log: d.Log, Metrics: d.Metrics}
}
