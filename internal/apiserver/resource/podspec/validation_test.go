package podspec

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// newPod is a defaulted pod from the YAML of its spec; a spec without
// containers gets one.
func newPod(t *testing.T, spec string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"}}
	if err := yaml.UnmarshalStrict([]byte(spec), &pod.Spec); err != nil {
		t.Fatalf("%v in\n%s", err, spec)
	}
	if !strings.Contains(spec, "containers:") || strings.HasPrefix(spec, "initContainers:") {
		pod.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
	}
	DefaultPod(pod)
	return pod
}

// texts are errors as "path: type: detail".
func texts(errs field.ErrorList) []string {
	var list []string
	for _, e := range errs {
		list = append(list, strings.TrimSuffix(e.Field+": "+e.Type.String()+": "+e.Detail, ": "))
	}
	return list
}

const envSources = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"

func TestValidatePod(t *testing.T) {
	for _, c := range []struct {
		name, spec string
		want       []string
	}{
		{"the least", `containers: [{name: c, image: i}]`, nil},
		{"no containers", `containers: []`, []string{"spec.containers: Required value"}},
		{"no image", `containers: [{name: c}]`, []string{"spec.containers[0].image: Required value"}},
		{"no name", `containers: [{image: i}]`, []string{"spec.containers[0].name: Required value"}},
		{"bad name", `containers: [{name: A_b, image: i}]`, []string{"spec.containers[0].name: Invalid value: a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"}},
		{"image with spaces", `containers: [{name: c, image: " i"}]`, []string{"spec.containers[0].image: Invalid value: must not have leading or trailing whitespace"}},
		{"names twice", `containers: [{name: c, image: i}, {name: c, image: i}]`, []string{"spec.containers[1].name: Duplicate value"}},
		{"name of an init container twice", `{containers: [{name: c, image: i}], initContainers: [{name: c, image: i}]}`, []string{"spec.initContainers[0].name: Duplicate value"}},
		{"probe of an init container", `initContainers: [{name: x, image: i, readinessProbe: {exec: {command: [a]}}}]`, []string{"spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"}},
		{"probe of a sidecar", `initContainers: [{name: x, image: i, restartPolicy: Always, readinessProbe: {exec: {command: [a]}}}]`, nil},
		{"pull policy", `containers: [{name: c, image: i, imagePullPolicy: Sometimes}]`, []string{`spec.containers[0].imagePullPolicy: Unsupported value: supported values: "Always", "IfNotPresent", "Never"`}},
		{"restart policy", `restartPolicy: Maybe`, []string{`spec.restartPolicy: Unsupported value: supported values: "Always", "OnFailure", "Never"`}},
		{"restart for a resize", `{restartPolicy: Never, containers: [{name: c, image: i, resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}]}]}`, []string{"spec.containers[0].resizePolicy: Invalid value: must be 'NotRequired' when pod `restartPolicy` is 'Never'"}},
		{"restart of an init container", `initContainers: [{name: x, image: i, resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}]}]`, []string{"spec.initContainers[0].resizePolicy[0].restartPolicy: Invalid value: must not be set to 'RestartContainer' for non-sidecar initContainers"}},
		{"dns policy", `dnsPolicy: None`, []string{"spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"}},
		{"nameservers", `{dnsPolicy: None, dnsConfig: {searches: [a]}}`, []string{"spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None"}},
		{"port", `containers: [{name: c, image: i, ports: [{containerPort: 70000}]}]`, []string{"spec.containers[0].ports[0].containerPort: Invalid value: must be between 1 and 65535, inclusive"}},
		{"port missing", `containers: [{name: c, image: i, ports: [{name: a}]}]`, []string{"spec.containers[0].ports[0].containerPort: Required value"}},
		{"port names twice", `containers: [{name: c, image: i, ports: [{name: a, containerPort: 1}, {name: a, containerPort: 2}]}]`, []string{"spec.containers[0].ports[1].name: Duplicate value"}},
		{"protocol", `containers: [{name: c, image: i, ports: [{containerPort: 1, protocol: tcp}]}]`, []string{`spec.containers[0].ports[0].protocol: Unsupported value: supported values: "SCTP", "TCP", "UDP"`}},
		{"host ports twice", `containers: [{name: c, image: i, ports: [{containerPort: 1, hostPort: 1}, {containerPort: 2, hostPort: 1}]}]`, []string{"spec.containers[0].ports[1].hostPort: Duplicate value"}},
		{"host network", `{hostNetwork: true, containers: [{name: c, image: i, ports: [{containerPort: 1, hostPort: 2}]}]}`, []string{"spec.containers[0].ports[0].containerPort: Invalid value: must match `hostPort` when `hostNetwork` is true"}},
		{"requests above limits", `containers: [{name: c, image: i, resources: {requests: {cpu: 2}, limits: {cpu: 1}}}]`, []string{"spec.containers[0].resources.requests: Invalid value: must be less than or equal to cpu limit of 1"}},
		{"negative", `containers: [{name: c, image: i, resources: {requests: {memory: -1}}}]`, []string{"spec.containers[0].resources.requests[memory]: Invalid value: must be greater than or equal to 0"}},
		{"unknown resource", `containers: [{name: c, image: i, resources: {requests: {disk: 1}}}]`, []string{"spec.containers[0].resources.requests[disk]: Invalid value: must be a standard resource type or fully qualified", "spec.containers[0].resources.requests[disk]: Invalid value: must be a standard resource for containers"}},
		{"extended without limit", `containers: [{name: c, image: i, resources: {requests: {a.b/c: 1}}}]`, []string{"spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources"}},
		{"env twice sourced", `containers: [{name: c, image: i, env: [{name: A, value: b, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}]`, []string{"spec.containers[0].env[0].valueFrom: Invalid value: may not be specified when `value` is not empty"}},
		{"env without source", `containers: [{name: c, image: i, env: [{name: A, valueFrom: {}}]}]`, []string{"spec.containers[0].env[0].valueFrom: Invalid value: " + envSources}},
		{"env without name", `containers: [{name: c, image: i, env: [{value: b}]}]`, []string{"spec.containers[0].env[0].name: Required value"}},
		{"env field", `containers: [{name: c, image: i, env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.labels}}}]}]`, []string{`spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"`}},
		{"env unknown field", `containers: [{name: c, image: i, env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.whoops}}}]}]`, []string{"spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: error converting fieldPath: field label not supported: metadata.whoops"}},
		{"env label", `containers: [{name: c, image: i, env: [{name: A, valueFrom: {fieldRef: {fieldPath: "metadata.labels['a']"}}}]}]`, nil},
		{"mount of nothing", `containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /v}]}]`, []string{"spec.containers[0].volumeMounts[0].name: Not found"}},
		{"mounts in one place", `{containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /v}, {name: v, mountPath: /v}]}], volumes: [{name: v}]}`, []string{"spec.containers[0].volumeMounts[1].mountPath: Invalid value: must be unique"}},
		{"sub path up", `{containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /v, subPath: a/../b}]}], volumes: [{name: v}]}`, []string{"spec.containers[0].volumeMounts.subPath: Invalid value: must not contain '..'"}},
		{"volume of two kinds", `volumes: [{name: v, emptyDir: {}, hostPath: {path: /}}]`, []string{"spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"}},
		{"volumes twice", `volumes: [{name: v}, {name: v}]`, []string{"spec.volumes[1].name: Duplicate value"}},
		{"secret without name", `volumes: [{name: v, secret: {}}]`, []string{"spec.volumes[0].secret.secretName: Required value"}},
		{"config map mode", `volumes: [{name: v, configMap: {name: a, defaultMode: 01000}}]`, []string{"spec.volumes[0].configMap.defaultMode: Invalid value: " + badMode}},
		{"host path up", `volumes: [{name: v, hostPath: {path: /a/..}}]`, []string{"spec.volumes[0].hostPath.path: Invalid value: must not contain '..'"}},
		{"projected twice", `volumes: [{name: v, projected: {sources: [{secret: {name: a, items: [{key: k, path: p}]}}, {configMap: {name: b, items: [{key: k, path: p}]}}]}}]`, []string{"spec.volumes[0].projected.sources[1].configMap: Invalid value: conflicting duplicate paths: p"}},
		{"token for a moment", `{serviceAccountName: a, volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t, expirationSeconds: 1}}]}}]}`, []string{"spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: may not specify a duration less than 10 minutes"}},
		{"two handlers", `containers: [{name: c, image: i, livenessProbe: {exec: {command: [a]}, httpGet: {port: 1}}}]`, []string{"spec.containers[0].livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type"}},
		{"no handler", `containers: [{name: c, image: i, readinessProbe: {}}]`, []string{"spec.containers[0].readinessProbe: Required value: must specify a handler type"}},
		{"liveness threshold", `containers: [{name: c, image: i, livenessProbe: {exec: {command: [a]}, successThreshold: 2}}]`, []string{"spec.containers[0].livenessProbe.successThreshold: Invalid value: must be 1"}},
		{"toleration with a value", `tolerations: [{key: a, operator: Exists, value: b}]`, []string{"spec.tolerations[0].operator: Invalid value: value must be empty when `operator` is 'Exists'"}},
		{"toleration of more", `tolerations: [{key: a, operator: Gt, value: "1"}]`, []string{`spec.tolerations[0].operator: Unsupported value: supported values: "Equal", "Exists", "Lt", "Gt"`}},
		{"affinity without topology", `affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {}}]}}`, []string{
			"spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty",
			"spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Invalid value: name part must be non-empty",
			"spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Invalid value: name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"}},
		{"nodes of no label", `affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In, values: ["b c"]}]}]}}}`, []string{"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values[0]: Invalid value: a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"}},
		{"wish for no label", `affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: a, operator: In, values: ["b c"]}]}}]}}`, nil},
		{"users and the node's network", `{hostUsers: false, hostNetwork: true, hostPID: true}`, []string{"spec.hostNetwork: Forbidden: when `hostUsers` is false", "spec.HostPID: Forbidden: when `hostUsers` is false"}},
		{"overhead", `overhead: {disk: 1}`, []string{"spec.overhead.limits[disk]: Invalid value: must be a standard resource type or fully qualified", "spec.overhead.limits[disk]: Invalid value: must be a standard resource for containers"}},
		{"the whole of less than the parts", `{resources: {requests: {cpu: 1}}, containers: [{name: c, image: i, resources: {requests: {cpu: 600m}}}, {name: d, image: i, resources: {requests: {cpu: 600m}}}]}`, []string{"spec.resources.requests[cpu]: Invalid value: must be greater than or equal to aggregate container requests of 1200m"}},
		{"a part above the whole", `{resources: {limits: {memory: 1Gi}}, containers: [{name: c, image: i, resources: {limits: {memory: 2Gi}, requests: {memory: 1Gi}}}]}`, []string{"spec.resources.containers[0][memory].limits: Invalid value: must be less than or equal to pod limits of 1Gi"}},
		{"the whole of storage", `resources: {requests: {ephemeral-storage: 1Gi}}`, []string{`spec.resources.requests[ephemeral-storage]: Unsupported value: supported values: "cpu", "hugepages-", "memory"`}},
		{"hostname override", `{hostNetwork: true, hostnameOverride: a.b}`, []string{"spec.hostnameOverride: Forbidden: may not be specified when hostNetwork is true"}},
		{"restart rules alone", `containers: [{name: c, image: i, restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [1]}}]}]`, []string{"spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used"}},
		{"restart rules of nothing", `containers: [{name: c, image: i, restartPolicy: Never, restartPolicyRules: [{action: Hope}]}]`, []string{`spec.containers[0].restartPolicyRules[0].action: Unsupported value: supported values: "Restart", "RestartAllContainers"`, "spec.containers[0].restartPolicyRules[0].exitCodes: Required value: must be specified"}},
		{"env of a file nowhere", `containers: [{name: c, image: i, env: [{name: A, valueFrom: {fileKeyRef: {volumeName: v, path: p, key: K}}}]}]`, []string{"spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Not found"}},
		{"env of a file elsewhere", `{volumes: [{name: v, hostPath: {path: /}}], containers: [{name: c, image: i, env: [{name: A, valueFrom: {fileKeyRef: {volumeName: v, path: p, key: K}}}]}]}`, []string{"spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Invalid value: referenced volume must be of type emptyDir"}},
		{"os", `os: {name: plan9}`, []string{`spec.os: Unsupported value: supported values: "linux", "windows"`}},
		{"propagation", `{volumes: [{name: v}], containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]}]}`, []string{"spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers"}},
		{"escalation", `containers: [{name: c, image: i, securityContext: {privileged: true, allowPrivilegeEscalation: false}}]`, []string{"spec.containers[0].securityContext: Invalid value: cannot set `allowPrivilegeEscalation` to false and `privileged` to true"}},
		{"user", `securityContext: {runAsUser: -1}`, []string{"spec.securityContext.runAsUser: Invalid value: must be between 0 and 2147483647, inclusive"}},
		{"sysctl of the node", `{hostNetwork: true, securityContext: {sysctls: [{name: net.a, value: b}]}}`, []string{"spec.securityContext.sysctls[0].name: Invalid value: may not be specified when 'hostNetwork' is true"}},
		{"processes of all", `{hostPID: true, shareProcessNamespace: true}`, []string{"spec.securityContext.shareProcessNamespace: Invalid value: ShareProcessNamespace and HostPID cannot both be enabled"}},
		{"toleration", `tolerations: [{value: a}]`, []string{"spec.tolerations[0].operator: Invalid value: operator must be Exists when `key` is empty, which means \"match all values and all keys\""}},
		{"spread", `topologySpreadConstraints: [{maxSkew: 0, topologyKey: a, whenUnsatisfiable: Now}]`, []string{"spec.topologySpreadConstraints[0].maxSkew: Invalid value: must be greater than zero", `spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: supported values: "DoNotSchedule", "ScheduleAnyway"`}},
		{"affinity", `affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}}`, []string{"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term"}},
		{"deadline", `activeDeadlineSeconds: 0`, []string{"spec.activeDeadlineSeconds: Invalid value: must be between 1 and 2147483647, inclusive"}},
		{"gated on a node", `{nodeName: n, schedulingGates: [{name: a}]}`, []string{"spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"}},
		{"host alias", `hostAliases: [{ip: x, hostnames: [a]}]`, []string{"spec.hostAliases[0].ip: Invalid value: must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"}},
		{"ephemeral on create", `ephemeralContainers: [{name: e, image: i}]`, []string{"spec.ephemeralContainers: Forbidden: cannot be set on create"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := texts(ValidatePod(newPod(t, c.spec))); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func affinity(terms string) string {
	return `affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [` + terms + `]}}}`
}

func TestValidateAnnotations(t *testing.T) {
	const armor = corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix
	for _, c := range []struct {
		name     string
		old, now map[string]string
		want     string
	}{
		{"cost", nil, map[string]string{corev1.PodDeletionCost: "-10"}, ""},
		{"cost of words", nil, map[string]string{corev1.PodDeletionCost: "+1"}, "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: must be a 32bit integer"},
		{"mirror of no node", map[string]string{corev1.MirrorPodAnnotationKey: "x"}, map[string]string{corev1.MirrorPodAnnotationKey: "x"}, "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: must set spec.nodeName if mirror pod annotation is set"},
		{"no mirror any more", map[string]string{corev1.MirrorPodAnnotationKey: "x"}, nil, "metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not remove or update mirror pod annotation"},
		{"profile of another", map[string]string{armor + "x": "unconfined"}, map[string]string{armor + "x": "unconfined"}, "metadata.annotations[" + armor + "x]: Invalid value: container not found"},
		{"profile that is none", map[string]string{armor + "c": "x"}, map[string]string{armor + "c": "x"}, "metadata.annotations[" + armor + "c]: Invalid value: invalid AppArmor profile name: \"x\""},
		{"profile later", nil, map[string]string{armor + "c": "unconfined"}, "metadata.annotations[" + armor + "c]: Forbidden: may not add AppArmor annotations"},
	} {
		pod, old := newPod(t, `{}`), newPod(t, `{}`)
		pod.Annotations, old.Annotations = c.now, c.old
		if got := strings.Join(texts(ValidatePodUpdate(pod, old)), "|"); got != c.want {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, c.want)
		}
	}
}

func TestValidatePodUpdate(t *testing.T) {
	for _, c := range []struct {
		name, old, spec string
		want            string
	}{
		{"image", `containers: [{name: c, image: i}]`, `containers: [{name: c, image: j, imagePullPolicy: Always}]`, ""},
		{"command", `containers: [{name: c, image: i}]`, `containers: [{name: c, image: i, command: [a]}]`, "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"},
		{"containers", `containers: [{name: c, image: i}]`, `containers: [{name: c, image: i}, {name: d, image: i}]`, "spec.containers: Forbidden: pod updates may not add or remove containers"},
		{"toleration added", `tolerations: [{key: a}]`, `tolerations: [{key: a}, {key: b}]`, ""},
		{"toleration gone", `tolerations: [{key: a}]`, `tolerations: [{key: b}]`, "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"},
		{"deadline shorter", `activeDeadlineSeconds: 5`, `activeDeadlineSeconds: 4`, ""},
		{"deadline longer", `activeDeadlineSeconds: 5`, `activeDeadlineSeconds: 6`, "spec.activeDeadlineSeconds: Invalid value: must be less than or equal to previous value"},
		{"deadline gone", `activeDeadlineSeconds: 5`, `{}`, "spec.activeDeadlineSeconds: Invalid value: must not update from a positive integer to nil value"},
		{"gate opened", `schedulingGates: [{name: a}]`, `{}`, ""},
		{"gate added", `{}`, `schedulingGates: [{name: a}]`, "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'a'"},
		{"gated, another selector", `{schedulingGates: [{name: a}], nodeSelector: {a: b}}`, `{schedulingGates: [{name: a}], nodeSelector: {a: c}}`, "spec.nodeSelector: Invalid value: only additions to spec.nodeSelector are allowed (no mutations or deletions)"},
		{"gated, affinity narrowed", `{schedulingGates: [{name: a}], ` + affinity(`{matchExpressions: [{key: a, operator: Exists}]}`) + `}`,
			`{schedulingGates: [{name: a}], ` + affinity(`{matchExpressions: [{key: a, operator: Exists}, {key: b, operator: Exists}]}`) + `}`, ""},
		{"gated, affinity changed", `{schedulingGates: [{name: a}], ` + affinity(`{matchExpressions: [{key: a, operator: Exists}]}`) + `}`,
			`{schedulingGates: [{name: a}], ` + affinity(`{matchExpressions: [{key: b, operator: Exists}]}`) + `}`, "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]: Invalid value: only additions are allowed (no mutations or deletions)"},
		{"gated, affinity wider", `{schedulingGates: [{name: a}], ` + affinity(`{matchExpressions: [{key: a, operator: Exists}]}`) + `}`,
			`{schedulingGates: [{name: a}], ` + affinity(`{matchExpressions: [{key: a, operator: Exists}]}, {matchExpressions: [{key: b, operator: Exists}]}`) + `}`, "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Invalid value: no additions/deletions to non-empty NodeSelectorTerms list are allowed"},
		{"two faults", `{}`, `{hostname: a, priorityClassName: _}`, "spec.priorityClassName: Invalid value: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')|spec: Forbidden: pod updates may not change fields other than"},
		{"gated selector", `schedulingGates: [{name: a}]`, `{schedulingGates: [{name: a}], nodeSelector: {a: b}}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := strings.Join(texts(ValidatePodUpdate(newPod(t, c.spec), newPod(t, c.old))), "|")
			if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestQOS(t *testing.T) {
	for _, c := range []struct {
		spec string
		want corev1.PodQOSClass
	}{
		{`containers: [{name: c, image: i}]`, corev1.PodQOSBestEffort},
		{`containers: [{name: c, image: i, resources: {requests: {cpu: 1}}}]`, corev1.PodQOSBurstable},
		{`containers: [{name: c, image: i, resources: {limits: {cpu: 1}}}]`, corev1.PodQOSBurstable},
		{`containers: [{name: c, image: i, resources: {limits: {cpu: 1, memory: 1Gi}}}]`, corev1.PodQOSGuaranteed},
		{`containers: [{name: c, image: i, resources: {limits: {cpu: 1, memory: 1Gi}}}, {name: d, image: i}]`, corev1.PodQOSBurstable},
	} {
		if got := QOS(newPod(t, c.spec)); got != c.want {
			t.Errorf("%s: %s, want %s", c.spec, got, c.want)
		}
	}
}

func TestPullPolicy(t *testing.T) {
	for image, want := range map[string]corev1.PullPolicy{
		"nginx":                        corev1.PullAlways,
		"nginx:latest":                 corev1.PullAlways,
		"nginx:1":                      corev1.PullIfNotPresent,
		"localhost:5000/nginx":         corev1.PullAlways,
		"localhost:5000/nginx:1":       corev1.PullIfNotPresent,
		"nginx@sha256:aaaa":            corev1.PullIfNotPresent,
		"registry.example/A/b":         corev1.PullIfNotPresent,
		"skiff.dev/hello:1":            corev1.PullIfNotPresent,
		"docker.io/library/busybox:ok": corev1.PullIfNotPresent,
	} {
		if got := pullPolicy(image); got != want {
			t.Errorf("%s: %s, want %s", image, got, want)
		}
	}
}
