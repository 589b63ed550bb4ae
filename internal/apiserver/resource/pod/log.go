package pod

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericrest "k8s.io/apiserver/pkg/registry/generic/rest"
	"k8s.io/apiserver/pkg/registry/rest"
)

// LogREST streams a container's log: GET pods/NAME/log.
type LogREST struct{ *Streams }

var _ rest.GetterWithOptions = LogREST{}
var _ rest.StorageMetadata = LogREST{}

// New implements rest.Storage.
func (LogREST) New() runtime.Object { return &corev1.Pod{} }

// Destroy implements rest.Storage.
func (LogREST) Destroy() {}

// ProducesMIMETypes implements rest.StorageMetadata.
func (LogREST) ProducesMIMETypes(string) []string { return []string{"text/plain"} }

// ProducesObject implements rest.StorageMetadata: the answer is text.
func (LogREST) ProducesObject(string) any { return "" }

// NewGetOptions implements rest.GetterWithOptions.
func (LogREST) NewGetOptions() (runtime.Object, bool, string) {
	return &corev1.PodLogOptions{}, false, ""
}

// Get implements rest.GetterWithOptions.
func (r LogREST) Get(ctx context.Context, name string, options runtime.Object) (runtime.Object, error) {
	opts, ok := options.(*corev1.PodLogOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %#v", options)
	}
	if errs := validateLogOptions(opts); len(errs) > 0 {
		return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("PodLogOptions").GroupKind(), name, errs)
	}
	pod, err := r.pod(ctx, name)
	if err != nil {
		return nil, err
	}
	container, err := container(opts.Container, pod)
	if err != nil {
		return nil, err
	}
	streamer := &genericrest.LocationStreamer{
		ContentType:     "text/plain",
		Flush:           opts.Follow,
		ResponseChecker: genericrest.NewGenericHttpResponseChecker(corev1.Resource("pods/log"), name),
		RedirectChecker: refuseRedirects,
	}
	if pod.Spec.NodeName == "" {
		return logStreamer{streamer}, nil // no node, no log: an empty answer
	}
	streamer.Location, streamer.Transport, err = r.kubelet(ctx, pod, logQuery(opts), "containerLogs", pod.Namespace, pod.Name, container)
	if err != nil {
		return nil, err
	}
	return logStreamer{streamer}, nil
}

// logStreamer hands out the end of a log by itself, not with the last bytes, as
// io.Reader allows: what sends it to a WebSocket (wsstream in k8s.io/streaming
// v0.36) would drop these, which is all of a short log.
type logStreamer struct{ *genericrest.LocationStreamer }

var _ rest.ResourceStreamer = logStreamer{}

// InputStream implements rest.ResourceStreamer.
func (s logStreamer) InputStream(ctx context.Context, version, accept string) (io.ReadCloser, bool, string, error) {
	in, flush, contentType, err := s.LocationStreamer.InputStream(ctx, version, accept)
	if in != nil {
		in = &endApart{ReadCloser: in}
	}
	return in, flush, contentType, err
}

// endApart keeps an error that came with bytes for the next call.
type endApart struct {
	io.ReadCloser
	err error
}

func (r *endApart) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.ReadCloser.Read(p)
	if n > 0 && err != nil {
		r.err, err = err, nil
	}
	return n, err
}

// refuseRedirects: a kubelet that could send the API server elsewhere could
// have it spend its credentials there.
func refuseRedirects(*http.Request, []*http.Request) error {
	return errors.New("redirects forbidden")
}

func logQuery(o *corev1.PodLogOptions) url.Values {
	q := url.Values{}
	set := func(name string, on bool) {
		if on {
			q.Set(name, "true")
		}
	}
	set("follow", o.Follow)
	set("previous", o.Previous)
	set("timestamps", o.Timestamps)
	number := func(name string, v *int64) {
		if v != nil {
			q.Set(name, strconv.FormatInt(*v, 10))
		}
	}
	number("sinceSeconds", o.SinceSeconds)
	number("tailLines", o.TailLines)
	number("limitBytes", o.LimitBytes)
	if o.SinceTime != nil {
		q.Set("sinceTime", o.SinceTime.Format(time.RFC3339))
	}
	if o.Stream != nil {
		q.Set("stream", *o.Stream)
	}
	return q
}

// validateLogOptions agrees with upstream's ValidatePodLogOptions.
func validateLogOptions(o *corev1.PodLogOptions) field.ErrorList {
	var errs field.ErrorList
	if o.TailLines != nil && *o.TailLines < 0 {
		errs = append(errs, field.Invalid(field.NewPath("tailLines"), *o.TailLines, "must be greater than or equal to 0"))
	}
	if o.LimitBytes != nil && *o.LimitBytes < 1 {
		errs = append(errs, field.Invalid(field.NewPath("limitBytes"), *o.LimitBytes, "must be greater than 0"))
	}
	switch {
	case o.SinceSeconds != nil && o.SinceTime != nil:
		errs = append(errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
	case o.SinceSeconds != nil && *o.SinceSeconds < 1:
		errs = append(errs, field.Invalid(field.NewPath("sinceSeconds"), *o.SinceSeconds, "must be greater than 0"))
	}
	if o.Stream != nil {
		valid := []string{corev1.LogStreamAll, corev1.LogStreamStdout, corev1.LogStreamStderr}
		switch *o.Stream {
		case corev1.LogStreamAll:
		case corev1.LogStreamStdout, corev1.LogStreamStderr:
			if o.TailLines != nil {
				errs = append(errs, field.Forbidden(field.NewPath(""), "`tailLines` and specific `stream` are mutually exclusive for now"))
			}
		default:
			errs = append(errs, field.NotSupported(field.NewPath("stream"), *o.Stream, valid))
		}
	}
	return errs
}
