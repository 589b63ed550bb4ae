// Package podspec is what all kinds that hold a pod specification share: the
// defaults and the validation of pods, of their containers and volumes, and of
// templates of pods.
//
// Where the package says that a function agrees with upstream's, it gives the
// same errors: field path, type and detail.
package podspec

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// DefaultPod sets what a pod's manifest may leave out: that of its spec, and
// what templates leave to the pod.
func DefaultPod(pod *corev1.Pod) {
	DefaultSpec(&pod.Spec)
	DefaultSpecOfPod(&pod.Spec)
	defaultStatus(&pod.Status)
}

// DefaultSpecOfPod agrees with upstream's SetDefaults_Pod: a template does not
// get these, a pod does.
func DefaultSpecOfPod(spec *corev1.PodSpec) {
	for i := range spec.Containers {
		defaultRequests(&spec.Containers[i].Resources)
	}
	for i := range spec.InitContainers {
		defaultRequests(&spec.InitContainers[i].Resources)
	}
	if spec.Resources != nil {
		defaultPodRequests(spec)
	}
	if s := spec.TerminationGracePeriodSeconds; s != nil && *s < 0 {
		*s = 1 // as little as can be; of a template it stays, until a pod is made of it
	}
	if spec.EnableServiceLinks == nil {
		links := true
		spec.EnableServiceLinks = &links
	}
	if spec.HostNetwork {
		defaultHostPorts(spec.Containers)
		defaultHostPorts(spec.InitContainers)
	}
}

// defaultRequests: who limits a resource and requests none requests the limit.
func defaultRequests(r *corev1.ResourceRequirements) {
	for name, limit := range r.Limits {
		if _, ok := r.Requests[name]; ok {
			continue
		}
		if r.Requests == nil {
			r.Requests = corev1.ResourceList{}
		}
		r.Requests[name] = limit.DeepCopy()
	}
}

// defaultPodRequests derives the requests of the pod as a whole from those of
// its containers, or else from its limits (KEP-2837).
func defaultPodRequests(spec *corev1.PodSpec) {
	if len(spec.Resources.Limits) == 0 && len(spec.Resources.Requests) == 0 {
		return
	}
	for name, limit := range spec.Resources.Limits {
		if _, ok := spec.Resources.Requests[name]; ok || !PodLevelResource(name) {
			continue
		}
		if spec.Resources.Requests == nil {
			spec.Resources.Requests = corev1.ResourceList{}
		}
		if sum, ok := requested(spec, name); ok {
			spec.Resources.Requests[name] = sum
		} else {
			spec.Resources.Requests[name] = limit.DeepCopy()
		}
	}
}

// requested sums what the containers request of a resource.
func requested(spec *corev1.PodSpec, name corev1.ResourceName) (resource.Quantity, bool) {
	var sum resource.Quantity
	found := false
	for i := range spec.Containers {
		if q, ok := spec.Containers[i].Resources.Requests[name]; ok {
			sum.Add(q)
			found = true
		}
	}
	return sum, found
}

// PodLevelResource tells whether a pod as a whole can request the resource.
func PodLevelResource(name corev1.ResourceName) bool {
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// defaultHostPorts: in the node's network a port is that port of the node.
func defaultHostPorts(containers []corev1.Container) {
	for i := range containers {
		for j := range containers[i].Ports {
			if p := &containers[i].Ports[j]; p.HostPort == 0 {
				p.HostPort = p.ContainerPort
			}
		}
	}
}

// DefaultTemplate sets what a template of pods may leave out.
func DefaultTemplate(t *corev1.PodTemplateSpec) { DefaultSpec(&t.Spec) }

// DefaultSpec agrees with upstream's SetDefaults_PodSpec and the defaults of
// what is inside.
func DefaultSpec(spec *corev1.PodSpec) {
	if spec.DNSPolicy == "" {
		spec.DNSPolicy = corev1.DNSClusterFirst
	}
	if spec.RestartPolicy == "" {
		spec.RestartPolicy = corev1.RestartPolicyAlways
	}
	if spec.SecurityContext == nil {
		spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	if spec.TerminationGracePeriodSeconds == nil {
		seconds := int64(corev1.DefaultTerminationGracePeriodSeconds)
		spec.TerminationGracePeriodSeconds = &seconds
	}
	if spec.SchedulerName == "" {
		spec.SchedulerName = corev1.DefaultSchedulerName
	}
	// serviceAccount is the old name of serviceAccountName: both read the same.
	if spec.ServiceAccountName == "" {
		spec.ServiceAccountName = spec.DeprecatedServiceAccount
	}
	spec.DeprecatedServiceAccount = spec.ServiceAccountName

	for i := range spec.Volumes {
		defaultVolume(&spec.Volumes[i])
	}
	for i := range spec.InitContainers {
		defaultContainer(&spec.InitContainers[i])
	}
	for i := range spec.Containers {
		defaultContainer(&spec.Containers[i])
	}
	for i := range spec.EphemeralContainers {
		defaultContainer((*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	RoundUp(spec.Overhead)
	if spec.Resources != nil {
		RoundUp(spec.Resources.Limits)
		RoundUp(spec.Resources.Requests)
	}
}

func defaultContainer(c *corev1.Container) {
	if c.ImagePullPolicy == "" {
		c.ImagePullPolicy = pullPolicy(c.Image)
	}
	if c.TerminationMessagePath == "" {
		c.TerminationMessagePath = corev1.TerminationMessagePathDefault
	}
	if c.TerminationMessagePolicy == "" {
		c.TerminationMessagePolicy = corev1.TerminationMessageReadFile
	}
	for i := range c.Ports {
		if c.Ports[i].Protocol == "" {
			c.Ports[i].Protocol = corev1.ProtocolTCP
		}
	}
	for i := range c.Env {
		defaultEnv(c.Env[i].ValueFrom)
	}
	RoundUp(c.Resources.Limits)
	RoundUp(c.Resources.Requests)
	for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		defaultProbe(probe)
	}
	if c.Lifecycle != nil {
		for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if h != nil {
				defaultHTTPGet(h.HTTPGet)
			}
		}
	}
}

func defaultEnv(from *corev1.EnvVarSource) {
	if from == nil {
		return
	}
	defaultFieldRef(from.FieldRef)
	if from.FileKeyRef != nil && from.FileKeyRef.Optional == nil {
		from.FileKeyRef.Optional = new(bool)
	}
}

func defaultFieldRef(ref *corev1.ObjectFieldSelector) {
	if ref != nil && ref.APIVersion == "" {
		ref.APIVersion = "v1"
	}
}

func defaultProbe(p *corev1.Probe) {
	if p == nil {
		return
	}
	for _, d := range []struct {
		field *int32
		value int32
	}{{&p.TimeoutSeconds, 1}, {&p.PeriodSeconds, 10}, {&p.SuccessThreshold, 1}, {&p.FailureThreshold, 3}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	defaultHTTPGet(p.HTTPGet)
	if p.GRPC != nil && p.GRPC.Service == nil {
		p.GRPC.Service = new(string)
	}
}

func defaultHTTPGet(get *corev1.HTTPGetAction) {
	if get == nil {
		return
	}
	if get.Path == "" {
		get.Path = "/"
	}
	if get.Scheme == "" {
		get.Scheme = corev1.URISchemeHTTP
	}
}

// RoundUp rounds quantities up to the thousandth, as precisely as they are kept.
func RoundUp(list corev1.ResourceList) {
	for name, q := range list {
		q.RoundUp(resource.Milli)
		list[name] = q
	}
}

// defaultStatus agrees with the defaults of resource lists inside a status.
func defaultStatus(s *corev1.PodStatus) {
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			RoundUp(list[i].AllocatedResources)
			if r := list[i].Resources; r != nil {
				RoundUp(r.Limits)
				RoundUp(r.Requests)
			}
		}
	}
}
