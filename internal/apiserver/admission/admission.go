// Package admission looks at requests after authentication and authorisation
// and before they are stored: it fills in what the cluster knows better than
// the client and refuses what the cluster's state forbids.
//
// The plugins are a literal list in the order in which upstream asks them. Those
// that mutate come before those that only validate; webhooks and policies will
// stand at the end of each half, so that they see what will be stored.
package admission

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	admissionmetrics "k8s.io/apiserver/pkg/admission/metrics"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
)

// Deps is what the plugins need.
type Deps struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
}

// plugin is one entry of the list.
type plugin struct {
	name string
	make func(Deps) (admission.Interface, error)
}

// plugins are asked in this order. Upstream's other default plugins follow with
// the kinds they are about (limit ranges, quotas, classes, webhooks, policies).
func plugins() []plugin {
	return []plugin{
		{"NamespaceLifecycle", namespaceLifecycle},
		{"ServiceAccount", newServiceAccount},
		{"Priority", newPriority},
		{"DefaultTolerationSeconds", newDefaultTolerations},
		{"RuntimeClass", newRuntimeClass},
		{"PodResizeValidator", newResize},
	}
}

// New returns the chain of all plugins.
func New(deps Deps) (admission.Interface, error) {
	var chain []admission.Interface
	for _, p := range plugins() {
		made, err := p.make(deps)
		if err != nil {
			return nil, fmt.Errorf("making the admission plugin %s: %w", p.name, err)
		}
		chain = append(chain, admissionmetrics.WithControllerMetrics(made, p.name))
	}
	return admissionmetrics.WithStepMetrics(admission.NewChainHandler(chain...)), nil
}

// namespaceLifecycle refuses new objects in namespaces that end or don't exist,
// and the end of namespaces that every cluster has.
func namespaceLifecycle(deps Deps) (admission.Interface, error) {
	p, err := lifecycle.NewLifecycle(sets.New(metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic))
	if err != nil {
		return nil, err
	}
	p.SetExternalKubeInformerFactory(deps.Informers)
	p.SetExternalKubeClientSet(deps.Client)
	return p, p.ValidateInitialization()
}
