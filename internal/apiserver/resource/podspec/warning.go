package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Warnings says what of a pod or a template is accepted and still most likely
// not meant. It agrees with upstream's GetWarningsForPodTemplate, except that it
// is silent about fields of persistent volume claims. path is that of the
// template; of a pod it is nil.
func Warnings(meta *metav1.ObjectMeta, spec *corev1.PodSpec, path *field.Path) []string {
	w := &warnings{}
	at := path.Child("spec")
	w.labels(spec, at)
	w.annotations(meta, spec, path.Child("metadata", "annotations"), path != nil)
	w.volumes(spec.Volumes, at.Child("volumes"))
	w.overlaps(spec.Volumes)
	w.repeated(spec, at)
	w.fractions(spec.Overhead, at.Child("overhead"))
	eachContainer(spec, at, func(c *corev1.Container, at *field.Path) {
		w.fractions(c.Resources.Limits, at.Child("resources", "limits"))
		w.fractions(c.Resources.Requests, at.Child("resources", "requests"))
		w.env(c.Env, at.Child("env"))
	})
	w.ports(spec, at)
	if s := spec.TerminationGracePeriodSeconds; s != nil && *s < 0 {
		w.say(at.Child("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	w.selectors(spec, at)
	if spec.DNSConfig != nil {
		for i, ip := range spec.DNSConfig.Nameservers {
			w.list = append(w.list, validation.GetWarningsForIP(at.Child("dnsConfig", "nameservers").Index(i), ip)...)
		}
	}
	for i, alias := range spec.HostAliases {
		w.list = append(w.list, validation.GetWarningsForIP(at.Child("hostAliases").Index(i).Child("ip"), alias.IP)...)
	}
	return w.list
}

// NameWarning warns of a name that pods cannot have as their hostname; of is
// what it is used in.
func NameWarning(name, of string) []string {
	if msgs := validation.IsDNS1123Label(name); len(msgs) > 0 {
		return []string{fmt.Sprintf("metadata.name: this is used in %s, which can result in surprising behavior; a DNS label is recommended: %v", of, msgs)}
	}
	return nil
}

type warnings struct{ list []string }

func (w *warnings) say(at *field.Path, format string, args ...any) {
	w.list = append(w.list, at.String()+": "+fmt.Sprintf(format, args...))
}

// oldLabel says what came in place of a label of nodes that nobody sets any more.
func oldLabel(key string) string {
	switch key {
	case "beta.kubernetes.io/arch":
		return `deprecated since v1.14; use "kubernetes.io/arch" instead`
	case "beta.kubernetes.io/os":
		return `deprecated since v1.14; use "kubernetes.io/os" instead`
	case "failure-domain.beta.kubernetes.io/region":
		return `deprecated since v1.17; use "topology.kubernetes.io/region" instead`
	case "failure-domain.beta.kubernetes.io/zone":
		return `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`
	case "beta.kubernetes.io/instance-type":
		return `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`
	case "app.kubernetes.io/created-by":
		return "deprecated since v1.9"
	case "scheduler.alpha.kubernetes.io/preferAvoidPods":
		return "deprecated since v1.22; use Taints and Tolerations instead"
	case "node-role.kubernetes.io/master":
		return `use "node-role.kubernetes.io/control-plane" instead`
	}
	return ""
}

func (w *warnings) labels(spec *corev1.PodSpec, path *field.Path) {
	for _, key := range sorted(spec.NodeSelector) {
		if msg := oldLabel(key); msg != "" {
			w.say(path.Child("nodeSelector").Key(key), "%s", msg)
		}
	}
	if spec.Affinity != nil && spec.Affinity.NodeAffinity != nil {
		n, at := spec.Affinity.NodeAffinity, path.Child("affinity", "nodeAffinity")
		if required := n.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
			for i := range required.NodeSelectorTerms {
				w.term(&required.NodeSelectorTerms[i], false, at.Child("requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms").Index(i))
			}
		}
		for i := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			w.term(&n.PreferredDuringSchedulingIgnoredDuringExecution[i].Preference, true, at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("preference"))
		}
	}
	for i, c := range spec.TopologySpreadConstraints {
		at := path.Child("topologySpreadConstraints").Index(i)
		if msg := oldLabel(c.TopologyKey); msg != "" {
			w.say(at.Child("topologyKey"), "%s is %s", c.TopologyKey, msg)
		}
		if c.LabelSelector == nil {
			w.say(at.Child("labelSelector"), noSelector)
		}
	}
}

// term looks at the values only where the term is a wish: elsewhere a bad one is
// an error.
func (w *warnings) term(t *corev1.NodeSelectorTerm, wish bool, path *field.Path) {
	for i, e := range t.MatchExpressions {
		at := path.Child("matchExpressions").Index(i)
		if msg := oldLabel(e.Key); msg != "" {
			w.say(at.Child("key"), "%s is %s", e.Key, msg)
		}
		for j := 0; wish && j < len(e.Values); j++ {
			for _, msg := range validation.IsValidLabelValue(e.Values[j]) {
				w.say(at.Child("values").Index(j), "%s is invalid, %s", e.Values[j], msg)
			}
		}
	}
}

const noSelector = "a null labelSelector results in matching no pod"

func (w *warnings) selectors(spec *corev1.PodSpec, path *field.Path) {
	terms := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm, at *field.Path) {
		for i := range required {
			if required[i].LabelSelector == nil {
				w.say(at.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i).Child("labelSelector"), noSelector)
			}
		}
		for i := range preferred {
			if preferred[i].PodAffinityTerm.LabelSelector == nil {
				w.say(at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("podAffinityTerm", "labelSelector"), noSelector)
			}
		}
	}
	if a := spec.Affinity; a != nil && a.PodAffinity != nil {
		terms(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, path.Child("affinity", "podAffinity"))
	}
	if a := spec.Affinity; a != nil && a.PodAntiAffinity != nil {
		terms(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, path.Child("affinity", "podAntiAffinity"))
	}
}

// annotations are those that once meant what a field means now.
func (w *warnings) annotations(meta *metav1.ObjectMeta, spec *corev1.PodSpec, path *field.Path, template bool) {
	say := func(key, msg string) {
		if _, ok := meta.Annotations[key]; ok {
			w.say(path.Key(key), "%s", msg)
		}
	}
	say("scheduler.alpha.kubernetes.io/critical-pod", `non-functional in v1.16+; use the "priorityClassName" field instead`)
	say("security.alpha.kubernetes.io/sysctls", `non-functional in v1.11+; use the "sysctls" field instead`)
	say("security.alpha.kubernetes.io/unsafe-sysctls", `non-functional in v1.11+; use the "sysctls" field instead`)
	const seccomp = `non-functional in v1.27+; use the "seccompProfile" field instead`
	if spec.SecurityContext == nil || spec.SecurityContext.SeccompProfile == nil {
		say("seccomp.security.alpha.kubernetes.io/pod", seccomp)
	}
	eachContainer(spec, nil, func(c *corev1.Container, _ *field.Path) {
		if c.SecurityContext == nil || c.SecurityContext.SeccompProfile == nil {
			say("container.seccomp.security.alpha.kubernetes.io/"+c.Name, seccomp)
		}
		if template && (c.SecurityContext == nil || c.SecurityContext.AppArmorProfile == nil) {
			say(corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+c.Name, `deprecated since v1.30; use the "appArmorProfile" field instead`)
		}
	})
}

func (w *warnings) volumes(volumes []corev1.Volume, path *field.Path) {
	for i := range volumes {
		v := &volumes[i]
		for _, old := range []struct {
			name string
			used bool
			msg  string
		}{
			{"photonPersistentDisk", v.PhotonPersistentDisk != nil, "deprecated in v1.11, non-functional in v1.16+"},
			{"gitRepo", v.GitRepo != nil, "deprecated in v1.11, and disabled by default in v1.33+"},
			{"scaleIO", v.ScaleIO != nil, "deprecated in v1.16, non-functional in v1.22+"},
			{"flocker", v.Flocker != nil, "deprecated in v1.22, non-functional in v1.25+"},
			{"storageOS", v.StorageOS != nil, "deprecated in v1.22, non-functional in v1.25+"},
			{"quobyte", v.Quobyte != nil, "deprecated in v1.22, non-functional in v1.25+"},
			{"glusterfs", v.Glusterfs != nil, "deprecated in v1.25, non-functional in v1.26+"},
			{"cephfs", v.CephFS != nil, "deprecated in v1.28, non-functional in v1.31+"},
			{"rbd", v.RBD != nil, "deprecated in v1.28, non-functional in v1.31+"},
		} {
			if old.used {
				w.say(path.Index(i).Child(old.name), "%s", old.msg)
			}
		}
	}
}

// repeated are entries of lists that are merged by a key: of two with the same
// key, apply keeps one.
func (w *warnings) repeated(spec *corev1.PodSpec, path *field.Path) {
	seen := map[string]bool{}
	for i, alias := range spec.HostAliases {
		if seen[alias.IP] {
			w.say(path.Child("hostAliases").Index(i).Child("ip"), "duplicate ip %q", alias.IP)
		}
		seen[alias.IP] = true
	}
	seen = map[string]bool{}
	for i, ref := range spec.ImagePullSecrets {
		at := path.Child("imagePullSecrets").Index(i).Child("name")
		if seen[ref.Name] {
			w.say(at, "duplicate name %q", ref.Name)
		}
		seen[ref.Name] = true
		if ref.Name == "" {
			w.say(at, "invalid empty name %q", ref.Name)
		}
	}
}

func (w *warnings) fractions(list corev1.ResourceList, path *field.Path) {
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if q, ok := list[name]; ok && q.MilliValue()%1000 != 0 {
			w.say(path.Key(string(name)), "fractional byte value %q is invalid, must be an integer", q.String())
		}
	}
}

func (w *warnings) env(vars []corev1.EnvVar, path *field.Path) {
	defined := map[string]bool{}
	for i, e := range vars {
		// A variable may be built from an earlier one of its own name.
		self := "$(" + e.Name + ")"
		built := e.ValueFrom == nil && e.Value != self && strings.Contains(e.Value, self)
		if defined[e.Name] && !built {
			w.say(path.Index(i), "hides previous definition of %q, which may be dropped when using apply", e.Name)
		}
		defined[e.Name] = true
	}
}

// ports looks at the ports of all containers together: they share one network.
func (w *warnings) ports(spec *corev1.PodSpec, path *field.Path) {
	type port struct {
		corev1.ContainerPort
		at *field.Path
	}
	byNumber, byName := map[string][]port{}, map[string]*field.Path{}
	var names []func()
	eachContainer(spec, path, func(c *corev1.Container, at *field.Path) {
		for i, p := range c.Ports {
			at := at.Child("ports").Index(i)
			if p.HostIP != "" && p.HostPort == 0 {
				// The text of the type is upstream's internal one, which has the same fields in another order.
				w.say(at, "hostIP set without hostPort: {Name:%s HostPort:%d ContainerPort:%d Protocol:%s HostIP:%s}", p.Name, p.HostPort, p.ContainerPort, p.Protocol, p.HostIP)
			}
			key := fmt.Sprintf("%d/%s", p.ContainerPort, p.Protocol)
			for _, o := range byNumber[key] {
				switch {
				case p.HostIP == o.HostIP && p.HostPort == o.HostPort:
					w.say(at, "duplicate port definition with %s", o.at)
				case p.HostPort == 0 || o.HostPort == 0:
					w.say(at, "overlapping port definition with %s", o.at)
				case p.HostPort == o.HostPort && (p.HostIP == "") != (o.HostIP == ""):
					w.say(at, "dangerously ambiguous port definition with %s", o.at)
				}
			}
			byNumber[key] = append(byNumber[key], port{p, at})
			names = append(names, func() {
				if first, ok := byName[p.Name]; ok && p.Name != "" {
					w.say(at, "duplicate port name %q with %s, services and probes that select ports by name will use %s", p.Name, first, first)
				} else {
					byName[p.Name] = at
				}
			})
		}
	})
	for _, say := range names {
		say()
	}
}
