package resource

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/registry/rest"

	"go.skiff.dev/skiff/internal/apiserver/resource/apps"
	"go.skiff.dev/skiff/internal/apiserver/resource/config"
	"go.skiff.dev/skiff/internal/apiserver/resource/coordination"
	"go.skiff.dev/skiff/internal/apiserver/resource/endpoint"
	"go.skiff.dev/skiff/internal/apiserver/resource/event"
	"go.skiff.dev/skiff/internal/apiserver/resource/namespace"
	"go.skiff.dev/skiff/internal/apiserver/resource/node"
	"go.skiff.dev/skiff/internal/apiserver/resource/pod"
	"go.skiff.dev/skiff/internal/apiserver/resource/relay"
	"go.skiff.dev/skiff/internal/apiserver/resource/service"
	"go.skiff.dev/skiff/internal/apiserver/resource/serviceaccount"
)

// resources are the kinds served, in the order they are made: a kind comes
// after those whose storage it reads.
func resources() []resource {
	return []resource{
		namespaces,
		plain(config.ConfigMap()),
		plain(config.Secret()),
		plain(node.Kind()),
		plain(node.RuntimeClass()),
		pods,
		serviceAccounts,
		services,
		plain(endpoint.Endpoints()),
		plain(endpoint.Slice()),
		events,
		plain(coordination.Lease()),
		deployments,
		replicaSets,
		relays,
	}
}

func namespaces(b *builder) error {
	main, status, finalize, err := namespace.Storages(b.Scheme, b.RESTOptionsGetter)
	if err != nil {
		return err
	}
	v1 := corev1.SchemeGroupVersion
	b.add(v1, "namespaces", main)
	b.add(v1, "namespaces/status", status)
	b.add(v1, "namespaces/finalize", finalize)
	return nil
}

func pods(b *builder) error {
	k := pod.Kind()
	store, err := serve(b, k)
	if err != nil {
		return err
	}
	v1 := corev1.SchemeGroupVersion
	binding := pod.NewBinding(store)
	b.add(v1, "bindings", pod.NewBindings(binding))
	b.add(v1, "pods/binding", binding)
	b.add(v1, "pods/eviction", pod.NewEviction(store))
	b.add(v1, "pods/ephemeralcontainers", k.Subresource(b.Scheme, store, pod.EphemeralRules()))
	b.add(v1, "pods/resize", k.Subresource(b.Scheme, store, pod.ResizeRules()))

	streams := &pod.Streams{Pods: store, Nodes: b.getter(v1, "nodes"), Conn: b.NodeConn}
	b.add(v1, "pods/log", pod.LogREST{Streams: streams})
	b.add(v1, "pods/exec", pod.ExecREST{Streams: streams})
	b.add(v1, "pods/attach", pod.AttachREST{Streams: streams})
	b.add(v1, "pods/portforward", pod.PortForwardREST{Streams: streams})
	return nil
}

func serviceAccounts(b *builder) error {
	store, err := serve(b, serviceaccount.Kind())
	if err != nil {
		return err
	}
	if b.TokenIssuer == nil {
		return nil
	}
	v1 := corev1.SchemeGroupVersion
	b.add(v1, "serviceaccounts/token", &serviceaccount.TokenREST{
		Accounts: store, Pods: b.getter(v1, "pods"), Secrets: b.getter(v1, "secrets"), Nodes: b.getter(v1, "nodes"),
		Issuer: b.TokenIssuer,
	})
	return nil
}

func services(b *builder) error {
	main, status, err := service.Storages(b.Scheme, b.RESTOptionsGetter, service.Options{CIDRs: b.ServiceCIDRs, NodePorts: b.NodePorts})
	if err != nil {
		return err
	}
	b.add(corev1.SchemeGroupVersion, "services", main)
	b.add(corev1.SchemeGroupVersion, "services/status", status)
	return nil
}

// relays are the proxy subresources.
func relays(b *builder) error {
	v1 := corev1.SchemeGroupVersion
	transport := relay.Transport()
	b.add(v1, "pods/proxy", relay.PodREST{Pods: b.getter(v1, "pods"), Transport: transport})
	b.add(v1, "services/proxy", relay.ServiceREST{
		Services:  b.getter(v1, "services"),
		Slices:    b.storages[discoveryv1.SchemeGroupVersion]["endpointslices"].(rest.Lister),
		Transport: transport,
	})
	if b.NodeConn != nil {
		b.add(v1, "nodes/proxy", relay.NodeREST{Nodes: b.getter(v1, "nodes"), Conn: b.NodeConn})
	}
	return nil
}

// events of both groups are one storage.
func events(b *builder) error {
	store, err := event.Store(b.Scheme, b.RESTOptionsGetter, b.EventTTL)
	if err != nil {
		return err
	}
	b.add(corev1.SchemeGroupVersion, "events", store)
	b.add(eventsv1.SchemeGroupVersion, "events", store)
	return nil
}

func deployments(b *builder) error {
	k := apps.Deployment()
	store, err := serve(b, k)
	if err != nil {
		return err
	}
	b.add(appsv1.SchemeGroupVersion, "deployments/scale", apps.NewScale(store, k, apps.Scaled[*appsv1.Deployment]{
		Replicas: func(d *appsv1.Deployment) **int32 { return &d.Spec.Replicas },
		Current:  func(d *appsv1.Deployment) int32 { return d.Status.Replicas },
		Selector: func(d *appsv1.Deployment) *metav1.LabelSelector { return d.Spec.Selector },
	}))
	return nil
}

func replicaSets(b *builder) error {
	k := apps.ReplicaSet()
	store, err := serve(b, k)
	if err != nil {
		return err
	}
	b.add(appsv1.SchemeGroupVersion, "replicasets/scale", apps.NewScale(store, k, apps.Scaled[*appsv1.ReplicaSet]{
		Replicas: func(rs *appsv1.ReplicaSet) **int32 { return &rs.Spec.Replicas },
		Current:  func(rs *appsv1.ReplicaSet) int32 { return rs.Status.Replicas },
		Selector: func(rs *appsv1.ReplicaSet) *metav1.LabelSelector { return rs.Spec.Selector },
	}))
	return nil
}
