package controllers_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"go.skiff.dev/skiff/internal/apiserver/apitest"
	"go.skiff.dev/skiff/internal/controllers"
	"go.skiff.dev/skiff/internal/scheduler"
)

const nodeName = "test-node"

// cluster is a real API server and store with all controllers, the scheduler,
// and an agent that stands in for the kubelet.
type cluster struct {
	client kubernetes.Interface
	server *apitest.Server
	agent  *agent
}

var shared *cluster

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "controllers")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	server, stop, err := apitest.Run(filepath.Join(dir, "data"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	ctx, cancel := context.WithCancel(context.Background())
	wait, err := startCluster(ctx, server)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		cancel()
		return 1
	}
	defer wait()
	defer cancel()
	return m.Run()
}

func startCluster(ctx context.Context, server *apitest.Server) (wait func(), err error) {
	client := server.As("system:kube-controller-manager", "system:masters")
	factory := informers.NewSharedInformerFactory(client, 0)
	set, err := controllers.New(controllers.Deps{
		Client: client, Metadata: metadata.NewForConfigOrDie(server.API.ClientConfig("system:kube-controller-manager", "system:masters")),
		Informers: factory, RootCA: []byte("-----BEGIN CERTIFICATE-----\n"),
	})
	if err != nil {
		return nil, err
	}
	sched, err := scheduler.New(scheduler.Deps{Client: server.As("system:kube-scheduler", "system:masters"), Informers: factory})
	if err != nil {
		return nil, err
	}
	a := &agent{client: server.As("system:node:"+nodeName, "system:nodes", "system:masters"), node: nodeName}
	if err := a.register(ctx); err != nil {
		return nil, err
	}
	if err := a.live(ctx); err != nil {
		return nil, err
	}
	a.start(factory)
	factory.Start(ctx.Done())
	done := make(chan error, 2)
	go func() { done <- set.Run(ctx, func() {}) }()
	go func() { done <- sched.Run(ctx, func() {}) }()
	shared = &cluster{client: server.Client(), server: server, agent: a}
	return func() { _, _ = <-done, <-done }, nil
}

// agent plays a node: it runs every pod at once, and ends it when told to.
type agent struct {
	client kubernetes.Interface
	node   string
	count  atomic.Int64
	// hold keeps pods with this label from becoming ready.
}

func (a *agent) register(ctx context.Context) error {
	room := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("64"), corev1.ResourceMemory: resource.MustParse("64Gi"),
		corev1.ResourcePods: resource.MustParse("2000"),
	}
	node, err := a.client.CoreV1().Nodes().Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: a.node, Labels: map[string]string{corev1.LabelHostname: a.node}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	node.Status = corev1.NodeStatus{Capacity: room, Allocatable: room, Conditions: []corev1.NodeCondition{
		{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()},
	}}
	_, err = a.client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
	return err
}

// live renews the node's lease until ctx ends: a node that is not heard is
// tainted after a while.
func (a *agent) live(ctx context.Context) error {
	leases := a.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: a.node}}
	renew := func() { lease.Spec.RenewTime = &metav1.MicroTime{Time: time.Now()} }
	renew()
	lease, err := leases.Create(ctx, lease, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	go func() {
		beat := time.NewTicker(10 * time.Second)
		defer beat.Stop()
		for {
			select {
			case <-beat.C:
				renew()
				if next, err := leases.Update(ctx, lease, metav1.UpdateOptions{}); err == nil {
					lease = next
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return nil
}

func (a *agent) start(factory informers.SharedInformerFactory) {
	work := make(chan *corev1.Pod, 10000)
	for range 8 {
		go func() {
			for pod := range work {
				a.serve(pod)
			}
		}()
	}
	add := func(object any) {
		if pod, ok := object.(*corev1.Pod); ok && pod.Spec.NodeName == a.node {
			work <- pod
		}
	}
	_, _ = factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: add, UpdateFunc: func(_, object any) { add(object) },
	})
}

// holdLabel keeps a pod from running, failLabel ends it.
const holdLabel = "hold"

func (a *agent) serve(pod *corev1.Pod) {
	ctx := context.Background()
	switch {
	case pod.DeletionTimestamp != nil:
		_ = a.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: new(int64), Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
	case pod.Status.Phase != corev1.PodRunning && pod.Labels[holdLabel] == "":
		n := a.count.Add(1)
		pod = pod.DeepCopy()
		ip := fmt.Sprintf("10.42.%d.%d", n/250, n%250+1)
		now := metav1.Now()
		pod.Status.Phase, pod.Status.PodIP, pod.Status.PodIPs, pod.Status.StartTime = corev1.PodRunning, ip, []corev1.PodIP{{IP: ip}}, &now
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{
			Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: now})
		_, _ = a.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	}
}

// patience is how long a test waits for what has to come: long, for a loaded
// machine.
const patience = time.Minute

// within polls a condition that depends on several organs at once.
func within(t *testing.T, what string, ok func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		done, state := ok()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %s", what, patience, state)
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // conditions of any kind are asked for
	}
}

// scratch makes a namespace that goes with the test.
func scratch(t *testing.T) string {
	t.Helper()
	n, err := shared.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "t-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := shared.client.CoreV1().Namespaces().Delete(context.Background(), n.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	return n.Name
}
