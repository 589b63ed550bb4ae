package resource

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// fieldLabels are the fields that selectors can name, by kind; every kind has
// metadata.name and metadata.namespace. An entry's value is the name that the
// kind itself uses for it, if another.
func fieldLabels() map[schema.GroupVersionKind]map[string]string {
	core := corev1.SchemeGroupVersion
	return map[schema.GroupVersionKind]map[string]string{
		core.WithKind("Pod"): {
			"spec.nodeName": "", "spec.restartPolicy": "", "spec.schedulerName": "", "spec.serviceAccountName": "",
			"spec.hostNetwork": "", "status.phase": "", "status.podIP": "", "status.podIPs": "status.podIP",
			"status.nominatedNodeName": "",
			"spec.host":                "spec.nodeName", // the field's name before v1
		},
		core.WithKind("Node"):      {"spec.unschedulable": ""},
		core.WithKind("Namespace"): {"status.phase": ""},
		core.WithKind("Secret"):    {"type": ""},
		core.WithKind("Service"):   {"spec.clusterIP": "", "spec.type": ""},
		core.WithKind("Event"): {
			"involvedObject.kind": "", "involvedObject.namespace": "", "involvedObject.name": "", "involvedObject.uid": "",
			"involvedObject.apiVersion": "", "involvedObject.resourceVersion": "", "involvedObject.fieldPath": "",
			"reason": "", "reportingComponent": "", "source": "", "type": "",
		},
		eventsv1.SchemeGroupVersion.WithKind("Event"): {
			"regarding.kind": "involvedObject.kind", "regarding.namespace": "involvedObject.namespace",
			"regarding.name": "involvedObject.name", "regarding.uid": "involvedObject.uid",
			"regarding.apiVersion": "involvedObject.apiVersion", "regarding.resourceVersion": "involvedObject.resourceVersion",
			"regarding.fieldPath": "involvedObject.fieldPath",
			"reason":              "", "reportingController": "reportingComponent", "type": "",
		},
		core.WithKind("ReplicationController"):           {"status.replicas": ""},
		appsv1.SchemeGroupVersion.WithKind("ReplicaSet"): {"status.replicas": ""},
	}
}

func addFieldLabels(scheme *runtime.Scheme) error {
	for gvk, known := range fieldLabels() {
		err := scheme.AddFieldLabelConversionFunc(gvk, func(label, value string) (string, string, error) {
			own, ok := known[label]
			switch {
			case label == "metadata.name", label == "metadata.namespace", ok && own == "":
				return label, value, nil
			case ok:
				return own, value, nil
			}
			return "", "", fmt.Errorf("field label not supported: %s", label)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
