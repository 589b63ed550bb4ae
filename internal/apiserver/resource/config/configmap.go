// Package config is the kinds that carry configuration: ConfigMap and Secret.
package config

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
)

// maxSize is how many bytes of data a ConfigMap or a Secret may hold.
const maxSize = corev1.MaxSecretSize

// ConfigMap describes the kind.
func ConfigMap() kind.Kind[*corev1.ConfigMap] {
	return kind.Kind[*corev1.ConfigMap]{
		Resource:   schema.GroupResource{Resource: "configmaps"},
		Version:    "v1",
		Singular:   "configmap",
		ShortNames: []string{"cm"},
		Namespaced: true,
		New:        func() *corev1.ConfigMap { return &corev1.ConfigMap{} },
		NewList:    func() runtime.Object { return &corev1.ConfigMapList{} },
		Trigger:    "metadata.name",
		Rules: kind.Rules[*corev1.ConfigMap]{
			Validate:       func(_ context.Context, cm *corev1.ConfigMap) field.ErrorList { return validateConfigMap(cm) },
			ValidateUpdate: validateConfigMapUpdate,
		},
		Table: kind.Table[*corev1.ConfigMap]{
			Columns: []metav1.TableColumnDefinition{
				kind.NameColumn(),
				kind.Column("Data", corev1.ConfigMap{}.SwaggerDoc()["data"]),
				kind.AgeColumn(),
			},
			Row: func(cm *corev1.ConfigMap) []any {
				return []any{cm.Name, int64(len(cm.Data) + len(cm.BinaryData)), kind.Age(cm.CreationTimestamp)}
			},
		},
	}
}

// validateConfigMap agrees with upstream's ValidateConfigMap.
func validateConfigMap(cm *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	total := 0
	for key, value := range cm.Data {
		errs = append(errs, validateKey(field.NewPath("data"), key)...)
		if _, both := cm.BinaryData[key]; both {
			errs = append(errs, field.Invalid(field.NewPath("data").Key(key), key, "duplicate of key present in binaryData"))
		}
		total += len(value)
	}
	for key, value := range cm.BinaryData {
		errs = append(errs, validateKey(field.NewPath("binaryData"), key)...)
		total += len(value)
	}
	if total > maxSize {
		errs = append(errs, field.TooLong(field.NewPath(""), "" /* unused */, maxSize))
	}
	return errs
}

func validateConfigMapUpdate(_ context.Context, cm, old *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	if old.Immutable != nil && *old.Immutable {
		errs = append(errs, validateFrozen(cm.Immutable)...)
		if !equality.Semantic.DeepEqual(cm.Data, old.Data) {
			errs = append(errs, field.Forbidden(field.NewPath("data"), frozenMessage))
		}
		if !equality.Semantic.DeepEqual(cm.BinaryData, old.BinaryData) {
			errs = append(errs, field.Forbidden(field.NewPath("binaryData"), frozenMessage))
		}
	}
	return append(errs, validateConfigMap(cm)...)
}

const frozenMessage = "field is immutable when `immutable` is set"

// validateFrozen: what was made immutable stays so.
func validateFrozen(immutable *bool) field.ErrorList {
	if immutable == nil || !*immutable {
		return field.ErrorList{field.Forbidden(field.NewPath("immutable"), frozenMessage)}
	}
	return nil
}

func validateKey(path *field.Path, key string) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range validation.IsConfigMapKey(key) {
		errs = append(errs, field.Invalid(path.Key(key), key, msg))
	}
	return errs
}
