package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// replicas is the size of the large Deployment.
const replicas = 100

// measureDeployment scales a Deployment from 0 to 100 and back.
func measureDeployment(ctx context.Context) (_ []result, err error) {
	s, err := start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.purge()) }()
	deployments := s.client.AppsV1().Deployments("default")
	if _, err := deployments.Create(ctx, deployment(), metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	before, err := s.memory(ctx)
	if err != nil {
		return nil, err
	}
	up, err := s.scale(ctx, replicas, func(ready, _ int) bool { return ready == replicas })
	if err != nil {
		return nil, err
	}
	after, err := s.memory(ctx)
	if err != nil {
		return nil, err
	}
	down, err := s.scale(ctx, 0, func(_, all int) bool { return all == 0 })
	if err != nil {
		return nil, err
	}
	return []result{
		{"Deployment 0 to 100 Ready", float64(up.Milliseconds()), "ms", fmt.Sprintf("%.1f pods/s", replicas/up.Seconds())},
		{"Deployment 100 to 0 gone", float64(down.Milliseconds()), "ms", ""},
		{"memory per extra pod (PSS)", mebibytes(after-min(before, after)) / replicas, "MiB", "daemon, supervisor and pause"},
	}, nil
}

// scale sets the replicas and waits until the pods are as done wants them.
func (s *skiff) scale(ctx context.Context, n int32, done func(ready, all int) bool) (time.Duration, error) {
	pods := s.client.CoreV1().Pods("default")
	list, err := pods.List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	state := map[string]bool{}
	for i := range list.Items {
		state[list.Items[i].Name] = isReady(&list.Items[i])
	}
	watcher, err := pods.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		return 0, err
	}
	defer watcher.Stop()
	began := time.Now()
	deployments := s.client.AppsV1().Deployments("default")
	scale, err := deployments.GetScale(ctx, "load", metav1.GetOptions{})
	if err != nil {
		return 0, err
	}
	scale.Spec.Replicas = n
	if _, err := deployments.UpdateScale(ctx, "load", scale, metav1.UpdateOptions{}); err != nil {
		return 0, err
	}
	err = until(ctx, watcher, func(e watch.Event) bool {
		p, ok := e.Object.(*corev1.Pod)
		if !ok {
			return false
		}
		state[p.Name] = isReady(p)
		if e.Type == watch.Deleted {
			delete(state, p.Name)
		}
		ready := 0
		for _, r := range state {
			if r {
				ready++
			}
		}
		return done(ready, len(state))
	})
	return time.Since(began), err
}

func deployment() *appsv1.Deployment {
	labels := map[string]string{"app": "load"}
	none := int32(0)
	pod := hello("load")
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "load"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &none,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod.Spec},
		},
	}
}
