package resource

import "k8s.io/apimachinery/pkg/runtime"

func addConversions(scheme *runtime.Scheme) error { return nil }
func addFieldLabels(scheme *runtime.Scheme) error { return nil }
func addDefaults(scheme *runtime.Scheme)          {}
