package daemon

import (
	"errors"
	"sync"

	"k8s.io/client-go/informers"

	"go.skiff.dev/skiff/internal/apiserver"
	"go.skiff.dev/skiff/internal/container"
	"go.skiff.dev/skiff/internal/control"
	"go.skiff.dev/skiff/internal/controllers"
	"go.skiff.dev/skiff/internal/dns"
	"go.skiff.dev/skiff/internal/image"
	"go.skiff.dev/skiff/internal/image/archives"
	"go.skiff.dev/skiff/internal/kubelet"
	"go.skiff.dev/skiff/internal/lifecycle"
	"go.skiff.dev/skiff/internal/pki"
	"go.skiff.dev/skiff/internal/podnet"
	"go.skiff.dev/skiff/internal/proxy"
	"go.skiff.dev/skiff/internal/scheduler"
	"go.skiff.dev/skiff/internal/store"
)

// organs are all parts of one skiff.
type organs struct {
	authority   *pki.Authority
	store       *store.Store
	api         *apiserver.Server
	informers   informers.SharedInformerFactory
	controllers *controllers.Set
	scheduler   *scheduler.Scheduler

	snapshotter snapshotter
	images      *image.Store
	archives    *archives.Directory
	room        room
	network     *podnet.Network
	containers  *container.Service
	kubelet     *kubelet.Kubelet
	proxy       *proxy.Proxy
	dns         *dns.Server

	stages *stages
}

// close releases what has no component of its own.
func (o *organs) close() error {
	var errs []error
	if o.images != nil {
		errs = append(errs, o.images.Close())
	}
	return errors.Join(errs...)
}

// stages remembers when each component started and was ready.
type stages struct {
	mu   sync.Mutex
	list []control.Stage
}

func newStages(components []lifecycle.Component) *stages {
	s := &stages{}
	for _, c := range components {
		s.list = append(s.list, control.Stage{Name: c.Name, Needs: c.Needs, Started: -1, Ready: -1})
	}
	return s
}

func (s *stages) ready(stage lifecycle.Stage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.list {
		if s.list[i].Name == stage.Name {
			s.list[i].Started = float64(stage.Start.Microseconds()) / 1000
			s.list[i].Ready = float64(stage.Ready.Microseconds()) / 1000
		}
	}
}

func (s *stages) snapshot() []control.Stage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]control.Stage(nil), s.list...)
}
