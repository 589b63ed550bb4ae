package apps

import (
	"context"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"go.skiff.dev/skiff/internal/apiserver/resource/podspec"
)

const template = `template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}`

func newDeployment(t *testing.T, spec string) *appsv1.Deployment {
	t.Helper()
	d := &appsv1.Deployment{}
	if err := yaml.UnmarshalStrict([]byte(spec), &d.Spec); err != nil {
		t.Fatalf("%v in\n%s", err, spec)
	}
	DefaultDeployment(d)
	podspec.DefaultTemplate(&d.Spec.Template)
	return d
}

func texts(errs field.ErrorList) []string {
	var list []string
	for _, e := range errs {
		list = append(list, strings.TrimSuffix(e.Field+": "+e.Type.String()+": "+e.Detail, ": "))
	}
	return list
}

func TestValidateDeployment(t *testing.T) {
	const selected = `selector: {matchLabels: {a: b}}, ` + template
	for _, c := range []struct {
		name, spec string
		want       []string
	}{
		{"the least", `{` + selected + `}`, nil},
		{"no selector", `{` + template + `}`, []string{"spec.selector: Required value", "spec.template.metadata.labels: Invalid value: `selector` does not match template `labels`"}},
		{"empty selector", `{selector: {}, ` + template + `}`, []string{"spec.selector: Invalid value: empty selector is invalid for deployment"}},
		{"another selector", `{selector: {matchLabels: {a: x}}, ` + template + `}`, []string{"spec.template.metadata.labels: Invalid value: `selector` does not match template `labels`"}},
		{"negative", `{replicas: -1, ` + selected + `}`, []string{"spec.replicas: Invalid value: must be greater than or equal to 0"}},
		{"restart policy", `{selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}`, []string{`spec.template.spec.restartPolicy: Unsupported value: supported values: "Always"`}},
		{"no image", `{selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c}]}}}`, []string{"spec.template.spec.containers[0].image: Required value"}},
		{"no move", `{strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0%}}, ` + selected + `}`, []string{"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: may not be 0 when `maxSurge` is 0"}},
		{"more than all", `{strategy: {rollingUpdate: {maxUnavailable: 101%}}, ` + selected + `}`, []string{"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: must not be greater than 100%"}},
		{"no percent", `{strategy: {rollingUpdate: {maxSurge: x}}, ` + selected + `}`, []string{"spec.strategy.rollingUpdate.maxSurge: Invalid value: a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"}},
		{"recreate rolling", `{strategy: {type: Recreate, rollingUpdate: {maxSurge: 1}}, ` + selected + `}`, []string{"spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"}},
		{"strategy", `{strategy: {type: Hope}, ` + selected + `}`, []string{`spec.strategy: Unsupported value: supported values: "Recreate", "RollingUpdate"`}},
		{"deadline", `{minReadySeconds: 9, progressDeadlineSeconds: 9, ` + selected + `}`, []string{"spec.progressDeadlineSeconds: Invalid value: must be greater than minReadySeconds"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := texts(validateDeployment(context.Background(), newDeployment(t, c.spec))); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}
