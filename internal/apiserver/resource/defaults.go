package resource

import "k8s.io/apimachinery/pkg/runtime"

func addFieldLabels(scheme *runtime.Scheme) error { return nil }
func addDefaults(scheme *runtime.Scheme)          {}
