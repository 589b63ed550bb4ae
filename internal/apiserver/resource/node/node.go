// Package node is the Node kind, its status, and the proxy to its kubelet.
package node

import (
	"context"
	"sort"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
)

// Kind describes Node.
func Kind() kind.Kind[*corev1.Node] {
	return kind.Kind[*corev1.Node]{
		Resource:   schema.GroupResource{Resource: "nodes"},
		Version:    "v1",
		Singular:   "node",
		ShortNames: []string{"no"},
		New:        func() *corev1.Node { return &corev1.Node{} },
		NewList:    func() runtime.Object { return &corev1.NodeList{} },
		Fields: func(n *corev1.Node) fields.Set {
			return fields.Set{"spec.unschedulable": strconv.FormatBool(n.Spec.Unschedulable)}
		},
		Trigger: "metadata.name",
		Rules: kind.Rules[*corev1.Node]{
			// A kubelet registers with its status, so creation keeps it.
			PrepareForUpdate: func(_ context.Context, n, old *corev1.Node) { n.Status = old.Status },
			Validate:         func(_ context.Context, n *corev1.Node) field.ErrorList { return validate(n) },
			ValidateUpdate:   validateUpdate,
			Reset:            []fieldpath.Path{fieldpath.MakePathOrDie("status")},
		},
		Status: &kind.Rules[*corev1.Node]{
			PrepareForUpdate: func(_ context.Context, n, old *corev1.Node) { n.Spec = old.Spec },
			ValidateUpdate:   validateUpdate,
			Reset:            []fieldpath.Path{fieldpath.MakePathOrDie("spec")},
		},
		Table: kind.Table[*corev1.Node]{
			Columns: []metav1.TableColumnDefinition{
				kind.NameColumn(),
				kind.Column("Status", "The status of the node"),
				kind.Column("Roles", "The roles of the node"),
				kind.AgeColumn(),
				kind.Column("Version", corev1.NodeSystemInfo{}.SwaggerDoc()["kubeletVersion"]),
				kind.Wide(kind.Column("Internal-IP", corev1.NodeStatus{}.SwaggerDoc()["addresses"])),
				kind.Wide(kind.Column("External-IP", corev1.NodeStatus{}.SwaggerDoc()["addresses"])),
				kind.Wide(kind.Column("OS-Image", corev1.NodeSystemInfo{}.SwaggerDoc()["osImage"])),
				kind.Wide(kind.Column("Kernel-Version", corev1.NodeSystemInfo{}.SwaggerDoc()["kernelVersion"])),
				kind.Wide(kind.Column("Container-Runtime", corev1.NodeSystemInfo{}.SwaggerDoc()["containerRuntimeVersion"])),
			},
			Row: row,
		},
	}
}

// Default sets what a registration may leave out.
func Default(n *corev1.Node) {
	// podCIDR is the first of podCIDRs; who sets one sets both.
	if first := n.Spec.PodCIDR; first != "" && (len(n.Spec.PodCIDRs) == 0 || n.Spec.PodCIDRs[0] != first) {
		n.Spec.PodCIDRs = []string{first}
	}
	if n.Spec.PodCIDR == "" && len(n.Spec.PodCIDRs) > 0 {
		n.Spec.PodCIDR = n.Spec.PodCIDRs[0]
	}
	if n.Status.Allocatable == nil && len(n.Status.Capacity) > 0 {
		n.Status.Allocatable = n.Status.Capacity.DeepCopy()
	}
}

// row agrees with upstream's printNode.
func row(n *corev1.Node) []any {
	var status []string
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		if c.Status == corev1.ConditionTrue {
			status = append(status, string(c.Type))
		} else {
			status = append(status, "Not"+string(c.Type))
		}
		break
	}
	if len(status) == 0 {
		status = append(status, "Unknown")
	}
	if n.Spec.Unschedulable {
		status = append(status, "SchedulingDisabled")
	}
	roles := strings.Join(roles(n), ",")
	if roles == "" {
		roles = "<none>"
	}
	info := n.Status.NodeInfo
	return []any{
		n.Name, strings.Join(status, ","), roles, kind.Age(n.CreationTimestamp), info.KubeletVersion,
		address(n, corev1.NodeInternalIP), address(n, corev1.NodeExternalIP),
		known(info.OSImage), known(info.KernelVersion), known(info.ContainerRuntimeVersion),
	}
}

func known(s string) string {
	if s == "" {
		return "<unknown>"
	}
	return s
}

func address(n *corev1.Node, t corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == t {
			return a.Address
		}
	}
	return "<none>"
}

const (
	rolePrefix = "node-role.kubernetes.io/"
	roleLabel  = "kubernetes.io/role"
)

func roles(n *corev1.Node) []string {
	found := sets.New[string]()
	for key, value := range n.Labels {
		switch {
		case strings.HasPrefix(key, rolePrefix):
			if role := strings.TrimPrefix(key, rolePrefix); role != "" {
				found.Insert(role)
			}
		case key == roleLabel && value != "":
			found.Insert(value)
		}
	}
	list := found.UnsortedList()
	sort.Strings(list)
	return list
}
