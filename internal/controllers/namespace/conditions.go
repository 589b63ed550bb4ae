package namespace

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// conditions says, in upstream's words, what holds the namespace up. Times
// change only where the status of a condition does.
func conditions(have []corev1.NamespaceCondition, o outcome, now metav1.Time) []corev1.NamespaceCondition {
	list := []corev1.NamespaceCondition{
		pick(o.discovery != nil, corev1.NamespaceDeletionDiscoveryFailure,
			"DiscoveryFailed", fmt.Sprintf("Discovery failed for some groups: %v", o.discovery),
			"ResourcesDiscovered", "All resources successfully discovered"),
		pick(false, corev1.NamespaceDeletionGVParsingFailure, "", "",
			"ParsedGroupVersions", "All legacy kube types successfully parsed"),
		pick(len(o.failures) > 0, corev1.NamespaceDeletionContentFailure,
			"ContentDeletionFailed", fmt.Sprintf("Failed to delete all resource types, %d remaining: %v", len(o.failures), errors.Join(o.failures...)),
			"ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
		pick(len(o.remains) > 0, corev1.NamespaceContentRemaining,
			"SomeResourcesRemain", "Some resources are remaining: "+describeCounts(o.remains),
			"ContentRemoved", "All content successfully removed"),
		pick(describeFinalizers(o.remains) != "", corev1.NamespaceFinalizersRemaining,
			"SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: "+describeFinalizers(o.remains),
			"ContentHasNoFinalizers", "All content-preserving finalizers finished"),
	}
	for i := range list {
		list[i].LastTransitionTime = now
		for _, old := range have {
			if old.Type == list[i].Type && old.Status == list[i].Status {
				list[i].LastTransitionTime = old.LastTransitionTime
			}
		}
	}
	return list
}

func pick(bad bool, kind corev1.NamespaceConditionType, badReason, badMessage, reason, message string) corev1.NamespaceCondition {
	if bad {
		return corev1.NamespaceCondition{Type: kind, Status: corev1.ConditionTrue, Reason: badReason, Message: badMessage}
	}
	return corev1.NamespaceCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: message}
}
