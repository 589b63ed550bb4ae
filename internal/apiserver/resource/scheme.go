package resource

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

// apiGroups are the group versions whose types the scheme knows.
func apiGroups() []func(*runtime.Scheme) error {
	return []func(*runtime.Scheme) error{
		corev1.AddToScheme,
		appsv1.AddToScheme,
		authenticationv1.AddToScheme,
		authorizationv1.AddToScheme,
		autoscalingv1.AddToScheme,
		coordinationv1.AddToScheme,
		discoveryv1.AddToScheme,
		eventsv1.AddToScheme,
		networkingv1.AddToScheme,
		nodev1.AddToScheme,
		policyv1.AddToScheme,
	}
}

// NewScheme returns a scheme that knows the external v1 types under their own
// version and under __internal, with their defaults, field selectors and
// conversions of query parameters.
func NewScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	addUnversioned(scheme)
	for _, add := range apiGroups() {
		utilruntime.Must(add(scheme))
	}
	for _, gv := range scheme.PrioritizedVersionsAllGroups() {
		addInternal(scheme, gv)
		utilruntime.Must(scheme.SetVersionPriority(gv))
	}
	utilruntime.Must(addConversions(scheme))
	utilruntime.Must(addFieldLabels(scheme))
	addDefaults(scheme)
	return scheme
}

// addUnversioned registers what every API server speaks in no group's name.
func addUnversioned(scheme *runtime.Scheme) {
	v1 := schema.GroupVersion{Version: "v1"}
	metav1.AddToGroupVersion(scheme, v1)
	scheme.AddUnversionedTypes(v1,
		&metav1.Status{},
		&metav1.APIVersions{},
		&metav1.APIGroupList{},
		&metav1.APIGroup{},
		&metav1.APIResourceList{},
	)
}

// addInternal registers the group's own types once more under __internal. The
// external version is registered first: k8s.io/apiserver takes the first kind
// of a type as its name.
func addInternal(scheme *runtime.Scheme, gv schema.GroupVersion) {
	internal := schema.GroupVersion{Group: gv.Group, Version: runtime.APIVersionInternal}
	for name, t := range scheme.KnownTypes(gv) {
		if !strings.HasPrefix(t.PkgPath(), "k8s.io/api/") {
			continue // the options and lists of meta/v1, known to every group
		}
		if gv.Group == eventsv1.GroupName {
			continue // its hub is the core group's Event, see addEventConversions
		}
		obj, err := scheme.New(gv.WithKind(name))
		if err != nil {
			panic(fmt.Errorf("making a %s: %w", gv.WithKind(name), err))
		}
		scheme.AddKnownTypeWithName(internal.WithKind(name), obj)
	}
}

// NewCodecs returns the serializers of the scheme.
func NewCodecs(scheme *runtime.Scheme) serializer.CodecFactory {
	return serializer.NewCodecFactory(scheme)
}

// ParameterCodec converts query parameters to the options of subresources.
func ParameterCodec(scheme *runtime.Scheme) runtime.ParameterCodec {
	return runtime.NewParameterCodec(scheme)
}
