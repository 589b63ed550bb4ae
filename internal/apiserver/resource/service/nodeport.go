package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// nodePorts claims the ports asked for and finds those left open.
func (g *grant) nodePorts(ctx context.Context) error {
	spec := &g.service.Spec
	path := field.NewPath("spec", "ports")
	if portsOfNodes(g.service) {
		for i := range spec.Ports {
			if p := &spec.Ports[i]; p.NodePort != 0 {
				if err := g.nodePort(ctx, p.NodePort); err != nil {
					return invalid(g.service, field.ErrorList{field.Invalid(path.Index(i).Child("nodePort"), p.NodePort, err.Error())})
				}
			}
		}
	}
	if needsNodePorts(g.service) {
		for i := range spec.Ports {
			if spec.Ports[i].NodePort == 0 {
				if err := g.findNodePort(ctx, i); err != nil {
					return err
				}
			}
		}
	}
	if !needsHealthPort(g.service) {
		return nil
	}
	if spec.HealthCheckNodePort != 0 {
		if err := g.nodePort(ctx, spec.HealthCheckNodePort); err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate requested HealthCheck NodePort %v: %w", spec.HealthCheckNodePort, err))
		}
		return nil
	}
	found, err := g.findPort(ctx)
	spec.HealthCheckNodePort = found
	return err
}

func (g *grant) nodePort(ctx context.Context, port int32) error {
	value := strconv.Itoa(int(port))
	if g.before.has(classPort, value) {
		return nil
	}
	if port < g.ports.First || port > g.ports.Last {
		return fmt.Errorf("provided port is not in the valid range. The range of valid ports is %d-%d", g.ports.First, g.ports.Last)
	}
	ok, err := g.claim(ctx, classPort, value)
	if err == nil && !ok {
		err = errors.New("provided port is already allocated")
	}
	return err
}

// findNodePort gives port i of the service a node port: the one of the same
// port by another protocol, if it has one that is free by this protocol (DNS
// by TCP and UDP), or a new one.
func (g *grant) findNodePort(ctx context.Context, i int) error {
	ports := g.service.Spec.Ports
	for j := range ports {
		if ports[j].Port != ports[i].Port || ports[j].Protocol == ports[i].Protocol || ports[j].NodePort == 0 {
			continue
		}
		if !slices.ContainsFunc(ports, func(p corev1.ServicePort) bool {
			return p.Protocol == ports[i].Protocol && p.NodePort == ports[j].NodePort
		}) {
			ports[i].NodePort = ports[j].NodePort
			return nil
		}
	}
	found, err := g.findPort(ctx)
	ports[i].NodePort = found
	return err
}

func (g *grant) findPort(ctx context.Context) (int32, error) {
	found, err := g.find(ctx, classPort, portPool(g.ports))
	if err != nil {
		return 0, apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %w", err))
	}
	port, err := strconv.Atoi(found)
	return int32(port), err
}
