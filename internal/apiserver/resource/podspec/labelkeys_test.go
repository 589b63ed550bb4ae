package podspec

import (
	"encoding/json"
	"slices"
	"testing"
)

// TestLabelKeysAreMerged: a pod that wants to be apart from (or near) those of
// its own revision is that, also for a scheduler that does not know the keys.
func TestLabelKeysAreMerged(t *testing.T) {
	pod := newPod(t, `{
affinity: {
  podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: z, labelSelector: {matchLabels: {app: x}}, matchLabelKeys: [rev, none], mismatchLabelKeys: [tenant]}]},
  podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: z, matchLabelKeys: [rev]}}]}},
topologySpreadConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule, labelSelector: {}, matchLabelKeys: [rev]}]}`)
	pod.Labels = map[string]string{"rev": "1", "tenant": "t"}
	MergeLabelKeys(pod)
	for _, c := range []struct {
		name, want string
		got        any
	}{
		{"affinity", `{"matchLabels":{"app":"x"},"matchExpressions":[{"key":"rev","operator":"In","values":["1"]},{"key":"tenant","operator":"NotIn","values":["t"]}]}`,
			pod.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].LabelSelector},
		{"without a selector", `null`, pod.Spec.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].PodAffinityTerm.LabelSelector},
		{"spread", `{"matchExpressions":[{"key":"rev","operator":"In","values":["1"]}]}`, pod.Spec.TopologySpreadConstraints[0].LabelSelector},
	} {
		if got, _ := json.Marshal(c.got); string(got) != c.want {
			t.Errorf("%s: %s", c.name, got)
		}
	}
	want := []string{"spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.matchLabelKeys: Forbidden: must not be specified when labelSelector is not set"}
	if got := texts(ValidatePod(pod)); !slices.Equal(got, want) {
		t.Errorf("errors %q", got)
	}

	pod = newPod(t, `topologySpreadConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {rev: "2"}}, matchLabelKeys: [rev]}]`)
	pod.Labels = map[string]string{"rev": "1"}
	MergeLabelKeys(pod)
	want = []string{"spec.topologySpreadConstraints[0][0]: Invalid value: exists in both matchLabelKeys and labelSelector"}
	if got := texts(ValidatePod(pod)); !slices.Equal(got, want) {
		t.Errorf("errors %q", got)
	}
}
