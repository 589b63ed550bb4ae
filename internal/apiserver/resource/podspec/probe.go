package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// life checks the lifecycle hooks and the probes of a container that runs on.
func (v *containerValidator) life(c *corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	grace := v.spec.TerminationGracePeriodSeconds
	if c.Lifecycle != nil {
		at := path.Child("lifecycle")
		if h := c.Lifecycle.PostStart; h != nil {
			errs = append(errs, validateHandler(hook(h), grace, at.Child("postStart"))...)
		}
		if h := c.Lifecycle.PreStop; h != nil {
			errs = append(errs, validateHandler(hook(h), grace, at.Child("preStop"))...)
		}
		if c.Lifecycle.StopSignal != nil && v.spec.OS == nil {
			errs = append(errs, field.Forbidden(at.Child("stopSignal"), "may not be set for containers with empty `spec.os.name`"))
		}
	}
	once := func(p *corev1.Probe, path *field.Path) {
		errs = append(errs, validateProbe(p, grace, path)...)
		if p != nil && p.SuccessThreshold != 1 {
			errs = append(errs, field.Invalid(path.Child("successThreshold"), p.SuccessThreshold, "must be 1"))
		}
	}
	once(c.LivenessProbe, path.Child("livenessProbe"))
	errs = append(errs, validateProbe(c.ReadinessProbe, grace, path.Child("readinessProbe"))...)
	if p := c.ReadinessProbe; p != nil && p.TerminationGracePeriodSeconds != nil {
		errs = append(errs, field.Invalid(path.Child("readinessProbe").Child("terminationGracePeriodSeconds"), *p.TerminationGracePeriodSeconds, "must not be set for readinessProbes"))
	}
	once(c.StartupProbe, path.Child("startupProbe"))
	return errs
}

// validateProbe agrees with upstream's validateProbe.
func validateProbe(p *corev1.Probe, grace *int64, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := validateHandler(handler{exec: p.Exec, get: p.HTTPGet, tcp: p.TCPSocket, grpc: p.GRPC}, grace, path)
	for _, f := range []struct {
		name  string
		value int32
	}{
		{"initialDelaySeconds", p.InitialDelaySeconds}, {"timeoutSeconds", p.TimeoutSeconds}, {"periodSeconds", p.PeriodSeconds},
		{"successThreshold", p.SuccessThreshold}, {"failureThreshold", p.FailureThreshold},
	} {
		errs = append(errs, nonnegative(path.Child(f.name), int64(f.value))...)
	}
	if s := p.TerminationGracePeriodSeconds; s != nil && *s <= 0 {
		errs = append(errs, field.Invalid(path.Child("terminationGracePeriodSeconds"), *s, "must be greater than 0"))
	}
	return errs
}

// handler is what a probe or a hook does.
type handler struct {
	exec  *corev1.ExecAction
	get   *corev1.HTTPGetAction
	tcp   *corev1.TCPSocketAction
	grpc  *corev1.GRPCAction
	sleep *corev1.SleepAction
}

func hook(h *corev1.LifecycleHandler) handler {
	return handler{exec: h.Exec, get: h.HTTPGet, tcp: h.TCPSocket, sleep: h.Sleep}
}

// validateHandler agrees with upstream's validateHandler: one and only one.
func validateHandler(h handler, grace *int64, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	found := 0
	check := func(name string, set bool, valid func(*field.Path) field.ErrorList) {
		if !set {
			return
		}
		if found > 0 {
			errs = append(errs, field.Forbidden(path.Child(name), "may not specify more than 1 handler type"))
			return
		}
		found++
		errs = append(errs, valid(path.Child(name))...)
	}
	check("exec", h.exec != nil, func(p *field.Path) field.ErrorList {
		if len(h.exec.Command) == 0 {
			return field.ErrorList{field.Required(p.Child("command"), "")}
		}
		return nil
	})
	check("httpGet", h.get != nil, func(p *field.Path) field.ErrorList { return validateHTTPGet(h.get, p) })
	check("tcpSocket", h.tcp != nil, func(p *field.Path) field.ErrorList { return validatePort(h.tcp.Port, p.Child("port")) })
	check("grpc", h.grpc != nil, func(p *field.Path) field.ErrorList {
		return validatePort(intstr.FromInt32(h.grpc.Port), p.Child("port"))
	})
	check("sleep", h.sleep != nil, func(p *field.Path) field.ErrorList {
		if grace != nil && (h.sleep.Seconds < 0 || h.sleep.Seconds > *grace) {
			return field.ErrorList{field.Invalid(p, h.sleep.Seconds, fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", *grace))}
		}
		return nil
	})
	if found == 0 {
		errs = append(errs, field.Required(path, "must specify a handler type"))
	}
	return errs
}

func validateHTTPGet(get *corev1.HTTPGetAction, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if get.Path == "" {
		errs = append(errs, field.Required(path.Child("path"), ""))
	}
	errs = append(errs, validatePort(get.Port, path.Child("port"))...)
	errs = append(errs, anyOf(path.Child("scheme"), get.Scheme, corev1.URISchemeHTTP, corev1.URISchemeHTTPS)...)
	for _, h := range get.HTTPHeaders {
		errs = append(errs, messages(path.Child("httpHeaders"), h.Name, validation.IsHTTPHeaderName(h.Name))...)
	}
	return errs
}

// validatePort checks a port by number or by name.
func validatePort(port intstr.IntOrString, path *field.Path) field.ErrorList {
	if port.Type == intstr.Int {
		return messages(path, port.IntValue(), validation.IsValidPortNum(port.IntValue()))
	}
	return messages(path, port.StrVal, validation.IsValidPortName(port.StrVal))
}
