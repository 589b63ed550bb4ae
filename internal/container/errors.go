package container

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"go.skiff.dev/skiff/internal/image"
	"go.skiff.dev/skiff/internal/supervisor"
)

// statusOf gives an error the gRPC code that the CRI's clients expect, and says
// what was being done.
func statusOf(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	if st, ok := status.FromError(err); ok {
		return status.Errorf(st.Code(), "%s: %s", what, st.Message())
	}
	return status.Errorf(codeOf(err), "%s: %v", what, err)
}

// coded is statusOf for an error that says itself what was being done.
func coded(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codeOf(err), err.Error())
}

func codeOf(err error) codes.Code {
	switch {
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, image.ErrNotFound), errors.Is(err, supervisor.ErrNotFound):
		return codes.NotFound
	case errors.Is(err, image.ErrInvalidReference), errors.Is(err, image.ErrAmbiguous), errors.Is(err, errInvalid):
		return codes.InvalidArgument
	case errors.Is(err, supervisor.ErrExists):
		return codes.AlreadyExists
	case errors.Is(err, image.ErrInUse), errors.Is(err, supervisor.ErrState):
		return codes.FailedPrecondition
	case errors.Is(err, image.ErrNoSpace), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return codes.ResourceExhausted
	case errors.Is(err, image.ErrUnauthorized):
		return codes.Unauthenticated
	case errors.Is(err, supervisor.ErrGone), errors.Is(err, image.ErrUnavailable):
		return codes.Unavailable
	}
	return codes.Unknown
}

// errInvalid marks a fault of the caller's configuration.
var errInvalid = errors.New("invalid configuration")

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}
