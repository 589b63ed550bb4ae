package kubelet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// forever is a script that does nothing and ends at once on TERM.
const forever = "trap 'exit 0' TERM; while :; do sleep 0.05; done"

// scenario is one behaviour, tried on the shared cluster.
type scenario struct {
	name string
	try  func(t *testing.T, c *testCluster)
}

// scenarios lists what is tried against the real thing.
func scenarios() []scenario {
	return []scenario{
		{"success-and-failure", tryPhases},
		{"restarts-and-crash-loop", tryRestarts},
		{"init-and-sidecar", tryInit},
		{"environment", tryEnvironment},
		{"missing-config", tryMissingConfig},
		{"volumes-follow", tryVolumes},
		{"probes", tryProbes},
		{"hooks", tryHooks},
		{"termination-message", tryMessage},
		{"images", tryImages},
		{"out-of-memory", tryOOM},
		{"deadline", tryDeadline},
		{"refused", tryRefused},
		{"delete-while-starting", tryDeleteEarly},
		{"force-delete", tryForce},
		{"logs-and-exec", tryNodeAPI},
		{"files-of-the-pod", tryFiles},
		{"static-pod", tryStatic},
		{"shared-pid", trySharedPID},
		{"labels-and-image-change", tryChanges},
		{"sandbox-death", trySandboxDeath},
		{"exec-and-follow", tryStreams},
		{"host-network", tryHostNetwork},
		{"user-namespace", tryUsers},
		{"image-volumes", tryImageVolume},
		{"seccomp-of-the-node", trySeccomp},
		{"label-of-this-moment", tryFreshLabel},
		{"shortened-grace", tryShorten},
		{"sidecars-end-last", trySidecarOrder},
	}
}

func TestScenarios(t *testing.T) {
	if !enter(t) {
		return
	}
	c := startCluster(t)
	t.Run("all", func(t *testing.T) {
		for _, s := range scenarios() {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				own := *c
				own.t = t
				s.try(t, &own)
			})
		}
	})
}

func mainStatus(p *v1.Pod) v1.ContainerStatus {
	if p == nil || len(p.Status.ContainerStatuses) == 0 {
		return v1.ContainerStatus{}
	}
	return p.Status.ContainerStatuses[0]
}

func phaseIs(phase v1.PodPhase) func(*v1.Pod) bool {
	return func(p *v1.Pod) bool { return p != nil && p.Status.Phase == phase }
}

func never(p *v1.Pod) { p.Spec.RestartPolicy = v1.RestartPolicyNever }

// tryFreshLabel: the scheduler sees a label at once, and binds pods that ask for it.
func tryFreshLabel(t *testing.T, c *testCluster) {
	label := []byte(`{"metadata":{"labels":{"fresh":"yes"}}}`)
	if _, err := c.client.CoreV1().Nodes().Patch(t.Context(), testNode, types.MergePatchType, label, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.pod("labelled", forever, func(p *v1.Pod) { p.Spec.NodeSelector = map[string]string{"fresh": "yes"} })
	p := c.await("labelled", "ready or refused", func(p *v1.Pod) bool { return isReady(p) || phaseIs(v1.PodFailed)(p) })
	if !isReady(p) {
		t.Errorf("refused: %s: %s", p.Status.Reason, p.Status.Message)
	}
}

func tryPhases(t *testing.T, c *testCluster) {
	c.pod("ok", "exit 0", never)
	c.pod("bad", "exit 7", never)
	c.pod("again", "test -e /data/x && exit 0; touch /data/x; exit 3", func(p *v1.Pod) {
		p.Spec.RestartPolicy = v1.RestartPolicyOnFailure
		p.Spec.Volumes = []v1.Volume{{Name: "data", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}}}
		p.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "data", MountPath: "/data"}}
	})
	p := c.await("ok", "succeeded", phaseIs(v1.PodSucceeded))
	if s := mainStatus(p).State.Terminated; s == nil || s.Reason != "Completed" || s.ExitCode != 0 || s.FinishedAt.IsZero() {
		t.Errorf("ok: %+v", s)
	}
	p = c.await("bad", "failed", phaseIs(v1.PodFailed))
	if s := mainStatus(p).State.Terminated; s == nil || s.Reason != "Error" || s.ExitCode != 7 {
		t.Errorf("bad: %+v", s)
	}
	p = c.await("again", "succeeded", phaseIs(v1.PodSucceeded))
	if s := mainStatus(p); s.RestartCount != 1 || s.LastTerminationState.Terminated == nil || s.LastTerminationState.Terminated.ExitCode != 3 {
		t.Errorf("again: %+v", s)
	}
}

func tryRestarts(t *testing.T, c *testCluster) {
	c.pod("crash", "exit 5", nil)
	p := c.await("crash", "in a crash loop", func(p *v1.Pod) bool {
		w := mainStatus(p).State.Waiting
		return w != nil && w.Reason == reasonCrashLoop
	})
	s := mainStatus(p)
	if s.RestartCount != 1 || s.LastTerminationState.Terminated.ExitCode != 5 || p.Status.Phase != v1.PodRunning || !strings.HasPrefix(s.State.Waiting.Message, "back-off 10s restarting failed container=main pod=crash_default(") {
		t.Errorf("crash loop: %+v", s)
	}
}

func tryInit(t *testing.T, c *testCluster) {
	always := v1.ContainerRestartPolicyAlways
	c.pod("init", forever, func(p *v1.Pod) {
		mount := []v1.VolumeMount{{Name: "data", MountPath: "/data"}}
		p.Spec.Volumes = []v1.Volume{{Name: "data", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}}}
		sh := func(name, script string) v1.Container {
			return v1.Container{Name: name, Image: "busybox", ImagePullPolicy: v1.PullIfNotPresent, Command: []string{"sh", "-c", script}, VolumeMounts: mount}
		}
		side := sh("side", "test -e /data/one && touch /data/side; "+forever)
		side.RestartPolicy = &always
		p.Spec.InitContainers = []v1.Container{sh("one", "touch /data/one"), side, sh("two", "while ! test -e /data/side; do sleep 0.05; done")}
	})
	p := c.ready("init")
	if len(p.Status.InitContainerStatuses) != 3 || p.Status.InitContainerStatuses[0].State.Terminated == nil || p.Status.InitContainerStatuses[1].State.Running == nil || !p.Status.InitContainerStatuses[1].Ready {
		t.Errorf("init: %+v", p.Status.InitContainerStatuses)
	}
	c.remove("init")
}

func tryEnvironment(t *testing.T, c *testCluster) {
	ctx := t.Context()
	if _, err := c.client.CoreV1().ConfigMaps("default").Create(ctx, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "env"}, Data: map[string]string{"k": "from-map", "other": "o"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.client.CoreV1().Secrets("default").Create(ctx, &v1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "env"}, Data: map[string][]byte{"s": []byte("from-secret")}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.pod("env", `echo "$A|$B|$C|$D|$E|$PRE_other|$IP|$KUBERNETES_SERVICE_HOST|$CPU" > /dev/termination-log`, func(p *v1.Pod) {
		never(p)
		m := &p.Spec.Containers[0]
		m.Resources.Limits = v1.ResourceList{v1.ResourceCPU: resource.MustParse("1500m")}
		m.EnvFrom = []v1.EnvFromSource{{Prefix: "PRE_", ConfigMapRef: &v1.ConfigMapEnvSource{LocalObjectReference: v1.LocalObjectReference{Name: "env"}}}}
		m.Env = []v1.EnvVar{
			{Name: "A", Value: "1"}, {Name: "B", Value: "$(A)2$$(A)"},
			{Name: "C", ValueFrom: &v1.EnvVarSource{ConfigMapKeyRef: &v1.ConfigMapKeySelector{LocalObjectReference: v1.LocalObjectReference{Name: "env"}, Key: "k"}}},
			{Name: "D", ValueFrom: &v1.EnvVarSource{SecretKeyRef: &v1.SecretKeySelector{LocalObjectReference: v1.LocalObjectReference{Name: "env"}, Key: "s"}}},
			{Name: "E", ValueFrom: &v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.name"}}},
			{Name: "IP", ValueFrom: &v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "status.podIP"}}},
			{Name: "CPU", ValueFrom: &v1.EnvVarSource{ResourceFieldRef: &v1.ResourceFieldSelector{Resource: "limits.cpu"}}},
		}
	})
	p := c.await("env", "done", phaseIs(v1.PodSucceeded))
	want := "1|12$(A)|from-map|from-secret|env|o|" + p.Status.PodIP + "|10.43.0.1|2\n"
	if got := mainStatus(p).State.Terminated.Message; got != want {
		t.Errorf("environment %q, want %q", got, want)
	}
}

func tryMissingConfig(t *testing.T, c *testCluster) {
	c.pod("later", forever, func(p *v1.Pod) {
		p.Spec.Containers[0].Env = []v1.EnvVar{{Name: "C", ValueFrom: &v1.EnvVarSource{ConfigMapKeyRef: &v1.ConfigMapKeySelector{LocalObjectReference: v1.LocalObjectReference{Name: "later"}, Key: "k"}}}}
	})
	p := c.await("later", "waiting for its configuration", func(p *v1.Pod) bool {
		w := mainStatus(p).State.Waiting
		return w != nil && w.Reason == reasonConfigError
	})
	if got := mainStatus(p).State.Waiting.Message; got != `configmap "later" not found` {
		t.Errorf("message %q", got)
	}
	began := time.Now()
	if _, err := c.client.CoreV1().ConfigMaps("default").Create(t.Context(), &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "later"}, Data: map[string]string{"k": "v"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.ready("later")
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("the start waited for a timer: %s", took)
	}
}

func tryVolumes(t *testing.T, c *testCluster) {
	ctx := t.Context()
	maps := c.client.CoreV1().ConfigMaps("default")
	if _, err := maps.Create(ctx, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "vol"}, Data: map[string]string{"f": "old"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	script := `until test "$(cat /cm/f)" = new; do sleep 0.05; done
		test -s /var/run/secrets/kubernetes.io/serviceaccount/token || exit 1
		test -s /var/run/secrets/kubernetes.io/serviceaccount/ca.crt || exit 2
		test "$(cat /var/run/secrets/kubernetes.io/serviceaccount/namespace)" = default || exit 3
		test "$(cat /down/labels)" = 'app="x"' || exit 4
		test "$(cat /sub)" = old || exit 5
		touch /cm/x 2>/dev/null && exit 6
		test "$(stat -c %g /empty)" = 777 || exit 7
		echo x > /empty/made/file || exit 8
		exit 0`
	c.pod("vol", script, func(p *v1.Pod) {
		never(p)
		group := int64(777)
		p.Labels = map[string]string{"app": "x"}
		p.Spec.SecurityContext = &v1.PodSecurityContext{FSGroup: &group}
		p.Spec.Volumes = []v1.Volume{
			{Name: "cm", VolumeSource: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "vol"}}}},
			{Name: "down", VolumeSource: v1.VolumeSource{DownwardAPI: &v1.DownwardAPIVolumeSource{Items: []v1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &v1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.labels"}}}}}},
			{Name: "empty", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{Medium: v1.StorageMediumMemory}}},
		}
		p.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{
			{Name: "cm", MountPath: "/cm"}, {Name: "down", MountPath: "/down"}, {Name: "empty", MountPath: "/empty"},
			{Name: "cm", MountPath: "/sub", SubPath: "f"}, {Name: "empty", MountPath: "/empty/made", SubPath: "a/b"},
		}
	})
	c.await("vol", "running", func(p *v1.Pod) bool { return mainStatus(p).State.Running != nil })
	if _, err := maps.Update(ctx, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "vol"}, Data: map[string]string{"f": "new"}}, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	p := c.await("vol", "done", func(p *v1.Pod) bool { return mainStatus(p).State.Terminated != nil })
	if code := mainStatus(p).State.Terminated.ExitCode; code != 0 {
		t.Errorf("the script ended with %d", code)
	}
}

func tryProbes(t *testing.T, c *testCluster) {
	exec := func(command string) v1.ProbeHandler {
		return v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"sh", "-c", command}}}
	}
	c.pod("probes", "touch /tmp/live; (sleep 0.5; touch /tmp/up; mkdir /www; echo hi > /www/index.html; httpd -f -p 8080 -h /www) & "+forever, func(p *v1.Pod) {
		m := &p.Spec.Containers[0]
		m.Ports = []v1.ContainerPort{{Name: "web", ContainerPort: 8080}}
		m.StartupProbe = &v1.Probe{ProbeHandler: exec("test -e /tmp/up"), PeriodSeconds: 1, FailureThreshold: 20}
		m.ReadinessProbe = &v1.Probe{ProbeHandler: v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Path: "/", Port: intstr.FromString("web")}}, PeriodSeconds: 1}
		m.LivenessProbe = &v1.Probe{ProbeHandler: exec("test -e /tmp/live"), PeriodSeconds: 1, FailureThreshold: 1}
	})
	p := c.await("probes", "running, not ready", func(p *v1.Pod) bool { return mainStatus(p).State.Running != nil })
	if isReady(p) || *mainStatus(p).Started {
		t.Error("it was ready before its probes said so")
	}
	c.ready("probes")
	c.exec("probes", "rm /tmp/live; killall httpd")
	p = c.await("probes", "restarted by its liveness probe", func(p *v1.Pod) bool { return mainStatus(p).RestartCount == 1 })
	if mainStatus(p).LastTerminationState.Terminated == nil {
		t.Errorf("last state: %+v", mainStatus(p))
	}
	c.event("probes", "Unhealthy", "Liveness probe failed: ")
	c.event("probes", "Killing", "Container main failed liveness probe, will be restarted")
}

// exec runs a script in the main container of a pod.
func (c *testCluster) exec(name, script string) string {
	c.t.Helper()
	pod, err := c.client.CoreV1().Pods("default").Get(c.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	id := strings.TrimPrefix(mainStatus(pod).ContainerID, idScheme)
	out, code, err := c.kubelet.execProbe(c.t.Context(), id, []string{"sh", "-c", script}, 10*time.Second)
	if err != nil {
		c.t.Fatalf("exec in %s: %d %v", name, code, err)
	}
	return string(out)
}

// event waits for an event of a pod.
func (c *testCluster) event(pod, reason, message string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	w, err := c.client.CoreV1().Events("default").Watch(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		c.t.Fatal(err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		ev, ok := e.Object.(*v1.Event)
		if ok && ev.InvolvedObject.Name == pod && ev.Reason == reason && strings.HasPrefix(ev.Message, message) {
			return
		}
	}
	c.explain(pod, nil)
	c.t.Errorf("pod %s has no event %s %q", pod, reason, message)
}

func tryHooks(t *testing.T, c *testCluster) {
	hook := func(script string) *v1.LifecycleHandler {
		return &v1.LifecycleHandler{Exec: &v1.ExecAction{Command: []string{"sh", "-c", script}}}
	}
	host := t.TempDir()
	c.pod("hooks", forever, func(p *v1.Pod) {
		p.Spec.Volumes = []v1.Volume{{Name: "host", VolumeSource: v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: host}}}}
		p.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "host", MountPath: "/host"}}
		p.Spec.Containers[0].Lifecycle = &v1.Lifecycle{PostStart: hook("touch /host/post"), PreStop: hook("touch /host/pre")}
	})
	c.ready("hooks")
	if _, err := os.Stat(filepath.Join(host, "post")); err != nil {
		t.Errorf("postStart: %v", err)
	}
	c.remove("hooks")
	if _, err := os.Stat(filepath.Join(host, "pre")); err != nil {
		t.Errorf("preStop: %v", err)
	}
	c.pod("badhook", forever, func(p *v1.Pod) {
		p.Spec.Containers[0].Lifecycle = &v1.Lifecycle{PostStart: hook("exit 1")}
	})
	c.event("badhook", "FailedPostStartHook", "")
	c.await("badhook", "restarted", func(p *v1.Pod) bool { return mainStatus(p).RestartCount > 0 })
}

func tryMessage(t *testing.T, c *testCluster) {
	c.pod("words", "echo last words > /dev/termination-log; exit 1", never)
	c.pod("fallback", "echo in the log; exit 1", func(p *v1.Pod) {
		never(p)
		p.Spec.Containers[0].TerminationMessagePolicy = v1.TerminationMessageFallbackToLogsOnError
	})
	for name, want := range map[string]string{"words": "last words\n", "fallback": "in the log\n"} {
		p := c.await(name, "failed", phaseIs(v1.PodFailed))
		if got := mainStatus(p).State.Terminated.Message; got != want {
			t.Errorf("%s: message %q, want %q", name, got, want)
		}
	}
}

func tryImages(t *testing.T, c *testCluster) {
	image := func(name string, policy v1.PullPolicy) func(*v1.Pod) {
		return func(p *v1.Pod) { p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = name, policy }
	}
	c.pod("nopull", forever, image("no.such/image:1", v1.PullNever))
	c.pod("badname", forever, image("Bad:Name:x", v1.PullIfNotPresent))
	c.pod("pull", forever, image("127.0.0.1:1/none:1", v1.PullIfNotPresent))
	c.pod("nocommand", forever, func(p *v1.Pod) { p.Spec.Containers[0].Command = []string{"/no/such/program"} })
	waits := func(reason string) func(*v1.Pod) bool {
		return func(p *v1.Pod) bool { w := mainStatus(p).State.Waiting; return w != nil && w.Reason == reason }
	}
	c.await("nopull", "ErrImageNeverPull", waits(reasonNeverPull))
	c.await("badname", "InvalidImageName", waits(reasonInvalidImage))
	c.await("pull", "ErrImagePull", waits(reasonErrPull))
	c.await("pull", "ImagePullBackOff", waits(reasonPullBackOff))
	p := c.await("nocommand", "unable to start", func(p *v1.Pod) bool {
		s := mainStatus(p)
		return waits(reasonRunError)(p) || waits(reasonCrashLoop)(p) || s.State.Terminated != nil
	})
	s := mainStatus(p)
	last := s.LastTerminationState.Terminated
	if s.State.Terminated != nil {
		last = s.State.Terminated
	}
	if last == nil || last.ExitCode == 0 || !strings.Contains(last.Message+fmt.Sprint(s.State.Waiting), "/no/such/program") {
		t.Errorf("nocommand: %+v", s)
	}
}

func tryOOM(t *testing.T, c *testCluster) {
	c.pod("oom", "tail /dev/zero", func(p *v1.Pod) {
		never(p)
		p.Spec.Containers[0].Resources.Limits = v1.ResourceList{v1.ResourceMemory: resource.MustParse("16Mi")}
	})
	p := c.await("oom", "failed", phaseIs(v1.PodFailed))
	if s := mainStatus(p).State.Terminated; s.Reason != "OOMKilled" || s.ExitCode != 137 {
		t.Errorf("oom: %+v", s)
	}
}

func tryDeadline(t *testing.T, c *testCluster) {
	c.pod("deadline", forever, func(p *v1.Pod) { seconds := int64(1); p.Spec.ActiveDeadlineSeconds = &seconds })
	p := c.await("deadline", "failed", phaseIs(v1.PodFailed))
	if p.Status.Reason != "DeadlineExceeded" {
		t.Errorf("status %+v", p.Status)
	}
	c.await("deadline", "ended", func(p *v1.Pod) bool { return mainStatus(p).State.Terminated != nil })
}

func tryRefused(t *testing.T, c *testCluster) {
	c.pod("greedy", forever, func(p *v1.Pod) {
		p.Spec.Containers[0].Resources.Requests = v1.ResourceList{v1.ResourceCPU: resource.MustParse("1000")}
	})
	p := c.await("greedy", "failed", phaseIs(v1.PodFailed))
	if p.Status.Reason != "OutOfcpu" || !strings.HasPrefix(p.Status.Message, "Pod was rejected: Node didn't have enough resource: cpu") {
		t.Errorf("status %s: %s", p.Status.Reason, p.Status.Message)
	}
}

func tryDeleteEarly(_ *testing.T, c *testCluster) {
	for i := range 5 {
		name := fmt.Sprintf("early-%d", i)
		c.pod(name, forever, nil)
		if i > 0 {
			time.Sleep(time.Duration(i*15) * time.Millisecond) //nolint:forbidigo // at different moments of the start
		}
		c.remove(name)
	}
}

func tryForce(t *testing.T, c *testCluster) {
	c.pod("force", "trap '' TERM; while :; do sleep 0.05; done", nil)
	p := c.ready("force")
	now := int64(0)
	if err := c.client.CoreV1().Pods("default").Delete(t.Context(), "force", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for c.kubelet.worker(p.UID) != nil {
		if time.Now().After(deadline) {
			t.Fatal("the container goes on")
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // nothing tells of the end of a pod that has no object
	}
	if _, err := os.Stat(c.kubelet.podDir(string(p.UID))); !os.IsNotExist(err) {
		t.Errorf("the pod's directory is left: %v", err)
	}
}

func tryFiles(t *testing.T, c *testCluster) {
	c.pod("files", "cat /etc/hosts /etc/resolv.conf > /dev/termination-log; hostname >> /dev/termination-log", func(p *v1.Pod) {
		never(p)
		p.Spec.Hostname, p.Spec.Subdomain = "web-0", "web"
		p.Spec.HostAliases = []v1.HostAlias{{IP: "198.51.100.9", Hostnames: []string{"alias"}}}
	})
	p := c.await("files", "done", phaseIs(v1.PodSucceeded))
	got := mainStatus(p).State.Terminated.Message
	for _, want := range []string{
		p.Status.PodIP + "\tweb-0.web.default.svc.cluster.local\tweb-0\n", "198.51.100.9\talias\n",
		"nameserver 10.43.0.10\n", "search default.svc.cluster.local svc.cluster.local cluster.local", "ndots:5", "web-0\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q misses %q", got, want)
		}
	}
}
