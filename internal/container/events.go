package container

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// hub passes events on to every subscriber, in order, without ever waiting for
// one of them.
type hub struct {
	mu   sync.Mutex
	subs map[*subscription]struct{}
}

type subscription struct {
	mu    sync.Mutex
	queue []*runtimeapi.ContainerEventResponse
	wake  chan struct{}
	// most bounds the queue, 0: nothing does. lost tells that it was full: the
	// subscriber has to list anew.
	most int
	lost bool
}

// maxEvents is how many events wait for a client of the socket that does not
// read.
const maxEvents = 4096

func (h *hub) send(e *runtimeapi.ContainerEventResponse) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for sub := range h.subs {
		sub.mu.Lock()
		if sub.most > 0 && len(sub.queue) >= sub.most {
			sub.queue, sub.lost = nil, true
		}
		if !sub.lost {
			sub.queue = append(sub.queue, e)
		}
		sub.mu.Unlock()
		select {
		case sub.wake <- struct{}{}:
		default:
		}
	}
}

func (h *hub) empty() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subs) == 0
}

func (h *hub) subscribe(most int) (*subscription, func()) {
	sub := &subscription{wake: make(chan struct{}, 1), most: most}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs == nil {
		h.subs = map[*subscription]struct{}{}
	}
	h.subs[sub] = struct{}{}
	return sub, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.subs, sub)
	}
}

// take empties the queue; it reports whether events were lost.
func (b *subscription) take() (all []*runtimeapi.ContainerEventResponse, lost bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all, b.queue = b.queue, nil
	return all, b.lost
}

// Events subscribes to the changes of containers and sandboxes until ctx ends.
// The channel is closed then. A subscriber that does not read loses nothing but
// memory, so it is for parts of skiff; events of one container are kept in order.
func (s *Service) Events(ctx context.Context) <-chan *runtimeapi.ContainerEventResponse {
	out := make(chan *runtimeapi.ContainerEventResponse)
	sub, leave := s.hub.subscribe(0)
	go func() {
		defer close(out)
		defer leave()
		for {
			select {
			case <-sub.wake:
			case <-ctx.Done():
				return
			}
			all, _ := sub.take()
			for _, e := range all {
				select {
				case out <- e:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out
}

// GetContainerEvents is Events over gRPC. A client that falls behind by more
// than maxEvents is let go: it has to list and to subscribe anew.
func (s *Service) GetContainerEvents(_ *runtimeapi.GetEventsRequest, stream grpc.ServerStreamingServer[runtimeapi.ContainerEventResponse]) error {
	sub, leave := s.hub.subscribe(maxEvents)
	defer leave()
	// The header tells the client that nothing is missed from here on.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	for {
		select {
		case <-sub.wake:
		case <-stream.Context().Done():
			return nil
		}
		all, lost := sub.take()
		if lost {
			return status.Errorf(codes.ResourceExhausted, "more than %d events were not read", maxEvents)
		}
		for _, e := range all {
			if err := stream.Send(e); err != nil {
				return err
			}
		}
	}
}

// sendEvent tells of a change, with the state of the whole sandbox.
func (s *Service) sendEvent(id, sandboxID string, kind runtimeapi.ContainerEventType) {
	if s.hub.empty() {
		return
	}
	e := &runtimeapi.ContainerEventResponse{ContainerId: id, ContainerEventType: kind, CreatedAt: time.Now().UnixNano()}
	s.mu.Lock()
	b := s.sandboxes[sandboxID]
	s.mu.Unlock()
	if b != nil {
		e.PodSandboxStatus = sandboxStatus(b.rec.Load())
		for _, c := range s.containersOf(sandboxID) {
			e.ContainersStatuses = append(e.ContainersStatuses, containerStatus(c.rec.Load()))
		}
	}
	s.hub.send(e)
}
