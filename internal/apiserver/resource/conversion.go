package resource

import (
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
)

// addConversions registers how the options of subresources are read from query
// parameters, and the two shapes of an Event.
func addConversions(scheme *runtime.Scheme) error {
	for _, add := range []func(*runtime.Scheme) error{
		addQuery(logOptions),
		addQuery(execOptions),
		addQuery(attachOptions),
		addQuery(portForwardOptions),
		addQuery(podProxyOptions),
		addQuery(nodeProxyOptions),
		addQuery(serviceProxyOptions),
		addEventConversions,
	} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	return nil
}

// addQuery registers a reader of query parameters for the options type O.
func addQuery[O any](read func(query, *O) error) func(*runtime.Scheme) error {
	return func(scheme *runtime.Scheme) error {
		return scheme.AddConversionFunc((*url.Values)(nil), (*O)(nil), func(from, to any, _ conversion.Scope) error {
			return read(query(*from.(*url.Values)), to.(*O))
		})
	}
}

// query reads parameters as k8s.io/apimachinery's conversions do: the first of
// several values counts, and a boolean that is present but empty is true.
type query url.Values

func (q query) text(name string) string { return url.Values(q).Get(name) }

func (q query) flag(name string) bool {
	values, ok := q[name]
	if !ok || len(values) == 0 {
		return false
	}
	switch values[0] {
	case "false", "0", "False", "FALSE", "f", "F":
		return false
	}
	return true
}

func (q query) number(name string) (*int64, error) {
	values := q[name]
	if len(values) == 0 {
		return nil, nil
	}
	n, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil {
		return nil, err
	}
	return &n, nil
}

func logOptions(q query, o *corev1.PodLogOptions) (err error) {
	o.Container = q.text("container")
	o.Follow = q.flag("follow")
	o.Previous = q.flag("previous")
	o.Timestamps = q.flag("timestamps")
	o.InsecureSkipTLSVerifyBackend = q.flag("insecureSkipTLSVerifyBackend")
	if o.SinceSeconds, err = q.number("sinceSeconds"); err != nil {
		return err
	}
	if o.TailLines, err = q.number("tailLines"); err != nil {
		return err
	}
	if o.LimitBytes, err = q.number("limitBytes"); err != nil {
		return err
	}
	if values := q["sinceTime"]; len(values) > 0 && values[0] != "" {
		t, err := time.Parse(time.RFC3339, values[0])
		if err != nil {
			return err
		}
		o.SinceTime = &metav1.Time{Time: t}
	}
	if values := q["stream"]; len(values) > 0 {
		o.Stream = &values[0]
	}
	return nil
}

func execOptions(q query, o *corev1.PodExecOptions) error {
	o.Stdin, o.Stdout, o.Stderr, o.TTY = q.flag("stdin"), q.flag("stdout"), q.flag("stderr"), q.flag("tty")
	o.Container = q.text("container")
	o.Command = q["command"]
	return nil
}

func attachOptions(q query, o *corev1.PodAttachOptions) error {
	o.Stdin, o.Stdout, o.Stderr, o.TTY = q.flag("stdin"), q.flag("stdout"), q.flag("stderr"), q.flag("tty")
	o.Container = q.text("container")
	return nil
}

func portForwardOptions(q query, o *corev1.PodPortForwardOptions) error {
	for _, value := range q["ports"] {
		port, err := strconv.ParseInt(value, 10, 32)
		if err != nil {
			return err
		}
		o.Ports = append(o.Ports, int32(port))
	}
	return nil
}

func podProxyOptions(q query, o *corev1.PodProxyOptions) error {
	o.Path = q.text("path")
	return nil
}

func nodeProxyOptions(q query, o *corev1.NodeProxyOptions) error {
	o.Path = q.text("path")
	return nil
}

func serviceProxyOptions(q query, o *corev1.ServiceProxyOptions) error {
	o.Path = q.text("path")
	return nil
}
