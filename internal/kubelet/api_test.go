package kubelet

import (
	"testing"

	v1 "k8s.io/api/core/v1"
)

func TestWhyThereIsNoLog(t *testing.T) {
	pod := podOfNames("Always", "a")
	for reason, want := range map[string]string{
		reasonErrPull: "image can't be pulled", reasonPullBackOff: "trying and failing to pull image",
		reasonNeverPull: reasonNeverPull, reasonInitializing: reasonInitializing,
	} {
		waits := []v1.ContainerStatus{{Name: "a", State: v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: reason}}}}
		for _, s := range []v1.PodStatus{{ContainerStatuses: waits}, {InitContainerStatuses: waits}, {EphemeralContainerStatuses: waits}} {
			pod.Status = s
			if got := waitingReason(pod, "a"); got != want {
				t.Errorf("%s: %q, want %q", reason, got, want)
			}
		}
	}
	pod.Status = v1.PodStatus{}
	if got := waitingReason(pod, "a"); got != reasonCreating {
		t.Errorf("without a status: %q", got)
	}
}
