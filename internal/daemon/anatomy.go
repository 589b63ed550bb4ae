package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/anatomy"
	"go.skiff.dev/skiff/internal/control"
)

// The labels that the node agent gives to sandboxes and containers.
const (
	labelPodName       = "io.kubernetes.pod.name"
	labelPodNamespace  = "io.kubernetes.pod.namespace"
	labelPodUID        = "io.kubernetes.pod.uid"
	labelContainerName = "io.kubernetes.container.name"
)

func (d *daemon) serveAnatomy(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	subject, err := d.subject(r.Context(), query.Get("namespace"), query.Get("pod"))
	if err != nil {
		control.Answer(w, nil, err)
		return
	}
	pod, err := anatomy.Read(subject)
	control.Answer(w, pod, err)
}

// info is what the container layer tells beyond the CRI's own fields.
type info struct {
	PID           int    `json:"pid"`
	CgroupPath    string `json:"cgroupPath"`
	HostInterface string `json:"hostInterface"`
}

// subject asks the container layer where a pod is.
func (d *daemon) subject(ctx context.Context, namespace, name string) (anatomy.Subject, error) {
	service := d.organs.containers
	s := anatomy.Subject{Namespace: namespace, Name: name}
	sandboxes, err := service.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{
		State:         &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_READY},
		LabelSelector: map[string]string{labelPodName: name, labelPodNamespace: namespace},
	}})
	if err != nil {
		return s, fmt.Errorf("looking for pod %s/%s: %w", namespace, name, err)
	}
	if len(sandboxes.Items) == 0 {
		return s, fmt.Errorf("pod %s/%s does not run on this node; see `skiff kubectl get pods -n %s`", namespace, name, namespace)
	}
	box := sandboxes.Items[0]
	s.UID = box.Labels[labelPodUID]
	status, err := service.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: box.Id, Verbose: true})
	if err != nil {
		return s, fmt.Errorf("reading the sandbox of pod %s/%s: %w", namespace, name, err)
	}
	var about info
	if err := json.Unmarshal([]byte(status.Info["info"]), &about); err != nil {
		return s, fmt.Errorf("reading the sandbox of pod %s/%s: %w", namespace, name, err)
	}
	s.Pause, s.CgroupPath, s.HostInterface = about.PID, parentOf(about.CgroupPath), about.HostInterface
	s.Containers, err = d.containersOf(ctx, box.Id)
	return s, err
}

// parentOf is the pod's own cgroup: pause lives in one of its own below it.
func parentOf(path string) string {
	if i := strings.LastIndex(path, "/"); i > 0 {
		return path[:i]
	}
	return path
}

// containersOf lists the newest container of each name in a sandbox.
func (d *daemon) containersOf(ctx context.Context, sandbox string) ([]anatomy.Container, error) {
	service := d.organs.containers
	list, err := service.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{PodSandboxId: sandbox}})
	if err != nil {
		return nil, fmt.Errorf("listing the pod's containers: %w", err)
	}
	newest := map[string]*runtimeapi.Container{}
	var order []string
	for _, c := range list.Containers {
		name := c.Labels[labelContainerName]
		if newest[name] == nil {
			order = append(order, name)
		}
		if newest[name] == nil || c.CreatedAt > newest[name].CreatedAt {
			newest[name] = c
		}
	}
	var result []anatomy.Container
	for _, name := range order {
		c := newest[name]
		status, err := service.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: c.Id, Verbose: true})
		if err != nil {
			return nil, fmt.Errorf("reading container %s: %w", name, err)
		}
		var about info
		if err := json.Unmarshal([]byte(status.Info["info"]), &about); err != nil {
			return nil, fmt.Errorf("reading container %s: %w", name, err)
		}
		state := strings.ToLower(strings.TrimPrefix(status.Status.State.String(), "CONTAINER_"))
		part := anatomy.Container{Name: name, ID: c.Id, State: state, CgroupPath: about.CgroupPath}
		if status.Status.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
			part.PID = about.PID
		}
		result = append(result, part)
	}
	return result, nil
}
