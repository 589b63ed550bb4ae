package kubelet

import (
	"context"
	"runtime"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func notFound(err error) bool { return status.Code(err) == codes.NotFound }

// gone reports whether a container has ended, or was removed: what was wanted of it is no longer.
func gone(err error) bool { return notFound(err) || status.Code(err) == codes.FailedPrecondition }

func invalidArgument(err error) bool { return status.Code(err) == codes.InvalidArgument }

// criText is an error of the container layer without the frame that gRPC puts
// around it: statuses and events are read by people.
func criText(err error) string {
	if s, ok := status.FromError(err); ok {
		return s.Message()
	}
	return err.Error()
}

// gate bounds how many starts burn processor time at once.
type gate chan struct{}

// newGate lets a few more in than there are processors: a start waits for the
// disk and for other processes about as long as it computes.
func newGate() gate { return make(gate, 2*runtime.GOMAXPROCS(0)+2) }

func (g gate) enter(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g gate) leave() { <-g }
