package config

import (
	"context"
	"crypto/tls"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
)

// Secret describes the kind.
func Secret() kind.Kind[*corev1.Secret] {
	return kind.Kind[*corev1.Secret]{
		Resource:   schema.GroupResource{Resource: "secrets"},
		Version:    "v1",
		Singular:   "secret",
		Namespaced: true,
		New:        func() *corev1.Secret { return &corev1.Secret{} },
		NewList:    func() runtime.Object { return &corev1.SecretList{} },
		Fields:     func(s *corev1.Secret) fields.Set { return fields.Set{"type": string(s.Type)} },
		Trigger:    "metadata.name",
		Rules: kind.Rules[*corev1.Secret]{
			PrepareForCreate: func(_ context.Context, s *corev1.Secret) { foldStringData(s) },
			PrepareForUpdate: func(_ context.Context, s, old *corev1.Secret) {
				foldStringData(s)
				if s.Type == "" {
					s.Type = old.Type
				}
			},
			Warn:           func(_ context.Context, s, _ *corev1.Secret) []string { return secretWarnings(s) },
			Validate:       func(_ context.Context, s *corev1.Secret) field.ErrorList { return validateSecret(s) },
			ValidateUpdate: validateSecretUpdate,
		},
		Table: kind.Table[*corev1.Secret]{
			Columns: []metav1.TableColumnDefinition{
				kind.NameColumn(),
				kind.Column("Type", corev1.Secret{}.SwaggerDoc()["type"]),
				kind.Column("Data", corev1.Secret{}.SwaggerDoc()["data"]),
				kind.AgeColumn(),
			},
			Row: func(s *corev1.Secret) []any {
				return []any{s.Name, string(s.Type), int64(len(s.Data)), kind.Age(s.CreationTimestamp)}
			},
		},
	}
}

// DefaultSecret sets what a manifest may leave out.
func DefaultSecret(s *corev1.Secret) {
	if s.Type == "" {
		s.Type = corev1.SecretTypeOpaque
	}
}

// foldStringData moves the write-only stringData into data, where it wins.
func foldStringData(s *corev1.Secret) {
	if len(s.StringData) == 0 {
		s.StringData = nil
		return
	}
	if s.Data == nil {
		s.Data = map[string][]byte{}
	}
	for key, value := range s.StringData {
		s.Data[key] = []byte(value)
	}
	s.StringData = nil
}

// validateSecret agrees with upstream's ValidateSecret.
func validateSecret(s *corev1.Secret) field.ErrorList {
	data := field.NewPath("data")
	var errs field.ErrorList
	total := 0
	for key, value := range s.Data {
		errs = append(errs, validateKey(data, key)...)
		total += len(value)
	}
	if total > maxSize {
		errs = append(errs, field.TooLong(data, "" /* unused */, maxSize))
	}
	return append(errs, validateSecretType(s, data)...)
}

// validateSecretType demands the keys that a type promises.
func validateSecretType(s *corev1.Secret, data *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken:
		if s.Annotations[corev1.ServiceAccountNameKey] == "" {
			errs = append(errs, field.Required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), ""))
		}
	case corev1.SecretTypeDockercfg:
		errs = requireJSON(s, data, corev1.DockerConfigKey)
	case corev1.SecretTypeDockerConfigJson:
		errs = requireJSON(s, data, corev1.DockerConfigJsonKey)
	case corev1.SecretTypeBasicAuth:
		_, user := s.Data[corev1.BasicAuthUsernameKey]
		_, password := s.Data[corev1.BasicAuthPasswordKey]
		if !user && !password {
			errs = append(errs, field.Required(data.Key(corev1.BasicAuthUsernameKey), ""))
			errs = append(errs, field.Required(data.Key(corev1.BasicAuthPasswordKey), ""))
		}
	case corev1.SecretTypeSSHAuth:
		if len(s.Data[corev1.SSHAuthPrivateKey]) == 0 {
			errs = append(errs, field.Required(data.Key(corev1.SSHAuthPrivateKey), ""))
		}
	case corev1.SecretTypeTLS:
		for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
			if _, ok := s.Data[key]; !ok {
				errs = append(errs, field.Required(data.Key(key), ""))
			}
		}
	}
	return errs
}

// secretWarnings says what is wrong with a pair of key and certificate: an
// ingress would find out later.
func secretWarnings(s *corev1.Secret) []string {
	if s.Type != corev1.SecretTypeTLS {
		return nil
	}
	if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return []string{err.Error()}
	}
	return nil
}

func requireJSON(s *corev1.Secret, data *field.Path, key string) field.ErrorList {
	value, ok := s.Data[key]
	if !ok {
		return field.ErrorList{field.Required(data.Key(key), "")}
	}
	var into map[string]any
	if err := json.Unmarshal(value, &into); err != nil {
		return field.ErrorList{field.Invalid(data.Key(key), "<secret contents redacted>", err.Error())}
	}
	return nil
}

func validateSecretUpdate(_ context.Context, s, old *corev1.Secret) field.ErrorList {
	errs := validation.ValidateImmutableField(s.Type, old.Type, field.NewPath("type"))
	if old.Immutable != nil && *old.Immutable {
		errs = append(errs, validateFrozen(s.Immutable)...)
		if !equality.Semantic.DeepEqual(s.Data, old.Data) {
			errs = append(errs, field.Forbidden(field.NewPath("data"), frozenMessage))
		}
	}
	return append(errs, validateSecret(s)...)
}
