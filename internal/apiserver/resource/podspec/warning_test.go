package podspec

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

func TestWarnings(t *testing.T) {
	for _, c := range []struct{ name, spec, want string }{
		{"nothing", `containers: [{name: c, ports: [{containerPort: 1}, {containerPort: 2}], env: [{name: A, value: b}, {name: A, value: $(A)c}]}]`, ""},
		{"old label", `nodeSelector: {beta.kubernetes.io/os: linux}`, `spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead`},
		{"old topology", `topologySpreadConstraints: [{topologyKey: failure-domain.beta.kubernetes.io/zone, labelSelector: {}}]`, `spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use "topology.kubernetes.io/zone" instead`},
		{"spread over nobody", `topologySpreadConstraints: [{topologyKey: a}]`, `spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod`},
		{"apart from nobody", `affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: a}}]}}`, `spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector: a null labelSelector results in matching no pod`},
		{"wish for no label", `affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: a, operator: In, values: ["b c"]}]}}]}}`, `spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].values[0]: b c is invalid, a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`},
		{"volume that is no more", `volumes: [{name: v, rbd: {}}]`, `spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+`},
		{"two hosts", `hostAliases: [{ip: 1.2.3.4}, {ip: 1.2.3.4}]`, `spec.hostAliases[1].ip: duplicate ip "1.2.3.4"`},
		{"two secrets", `imagePullSecrets: [{name: a}, {name: a}]`, `spec.imagePullSecrets[1].name: duplicate name "a"`},
		{"milli memory", `initContainers: [{name: c, resources: {limits: {memory: 100m}}}]`, `spec.initContainers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer`},
		{"two variables", `containers: [{name: c, env: [{name: A, value: b}, {name: A, value: c}]}]`, `spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply`},
		{"two ports", `containers: [{name: c, ports: [{containerPort: 1}]}, {name: d, ports: [{containerPort: 1}]}]`, `spec.containers[1].ports[0]: duplicate port definition with spec.containers[0].ports[0]`},
		{"two ports, one of the host", `containers: [{name: c, ports: [{containerPort: 1}, {containerPort: 1, hostPort: 2}]}]`, `spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]`},
		{"two ports of one name", `{initContainers: [{name: c, ports: [{name: a, containerPort: 1}]}], containers: [{name: d, ports: [{name: a, containerPort: 2}]}]}`, `spec.containers[0].ports[0]: duplicate port name "a" with spec.initContainers[0].ports[0], services and probes that select ports by name will use spec.initContainers[0].ports[0]`},
		{"overlapping files", `volumes: [{name: v, configMap: {name: m, items: [{key: a, path: x/}, {key: b, path: x/y}]}}]`, `volume "v" (ConfigMap "m"): overlapping paths: "x/y" with "x"`},
		{"overlapping sources", `volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: x}}, {secret: {name: s, items: [{key: a, path: x}]}}]}}]`, `volume "v" (Projected): overlapping paths: "x" (Secret "s") with "x" (ServiceAccountToken)`},
		{"no patience", `terminationGracePeriodSeconds: -1`, `spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1`},
		{"octal", `dnsConfig: {nameservers: [010.0.0.1]}`, `spec.dnsConfig.nameservers[0]: non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var spec corev1.PodSpec
			if err := yaml.UnmarshalStrict([]byte(c.spec), &spec); err != nil {
				t.Fatal(err)
			}
			var want []string
			if c.want != "" {
				want = []string{c.want}
			}
			if got := Warnings(&metav1.ObjectMeta{}, &spec, nil); !slices.Equal(got, want) {
				t.Errorf("\ngot  %q\nwant %q", got, want)
			}
		})
	}
}

func TestWarningsOfAnnotations(t *testing.T) {
	meta := &metav1.ObjectMeta{Annotations: map[string]string{
		"scheduler.alpha.kubernetes.io/critical-pod": "", "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
	}}
	want := []string{
		`spec.template.metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the "priorityClassName" field instead`,
		`spec.template.metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "seccompProfile" field instead`,
	}
	if got := Warnings(meta, &corev1.PodSpec{}, field.NewPath("spec", "template")); !slices.Equal(got, want) {
		t.Errorf("\ngot  %q\nwant %q", got, want)
	}
}
