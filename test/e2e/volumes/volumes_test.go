// Package volumes tests what pods find in their volumes: where the content
// comes from, who may read it, and how it follows its source.
package volumes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

// TestVolumes starts one cluster for all; each subtest has a namespace of its own.
func TestVolumes(t *testing.T) {
	c := cluster.Start(t)
	c.ImportDebian("e2e/busybox:1", "busybox")
	for name, test := range map[string]func(*testing.T, *cluster.Cluster){
		"emptydir": emptyDir, "objects": objects, "paths": paths, "hostpath": hostPath, "propagation": propagation,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, c)
		})
	}
}

func emptyDir(t *testing.T, c *cluster.Cluster) {
	s := c.Space(t, "emptydir", "testdata/emptydir.yaml")
	s.Wanted(t)
	t.Run("shared", func(t *testing.T) {
		s := s.For(t)
		pod := s.Ready("shared")
		if got := s.Exec("shared", "b", "cat", "/other/f"); got != "from-a\n" {
			t.Errorf("the other container reads %q", got)
		}
		if out, err := s.TryExec("shared", "b", "touch", "/other/x"); err == nil {
			t.Errorf("a read-only mount was written: %s", out)
		}
		// The content outlives its writer.
		kill(t, cluster.Container(pod, "a"))
		s.When("shared", "restarted", func(p *corev1.Pod) bool { return cluster.Container(p, "a").RestartCount == 1 && cluster.IsReady(p) })
		if got := s.Exec("shared", "b", "cat", "/other/f"); got != "from-a\nfrom-a\n" {
			t.Errorf("after a restart the file holds %q", got)
		}
	})
	t.Run("nothing is left", func(t *testing.T) {
		s := s.For(t)
		dir := filepath.Join(c.Dir, "data")
		uid := string(s.Pod("memory-limit").UID)
		s.Kubectl("delete", "pod", "memory-limit", "modes", "--now")
		s.Gone("memory-limit")
		cluster.Until(t, func() error {
			mounts, err := os.ReadFile("/proc/self/mounts")
			if err != nil {
				return err
			}
			left, err := filepath.Glob(filepath.Join(dir, "*", "pods", uid))
			if strings.Contains(string(mounts), uid) || len(left) > 0 {
				return fmt.Errorf("left of the pod: %q (%v), mounts %t", left, err, strings.Contains(string(mounts), uid))
			}
			return nil
		})
	})
}

// kill ends a container's processes from the host, which finds them by the
// container's cgroup.
func kill(t *testing.T, status corev1.ContainerStatus) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil || !strings.Contains(string(data), strings.TrimPrefix(status.ContainerID, "skiff://")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Errorf("killing %d: %v", pid, err)
		}
	}
}

func objects(t *testing.T, c *cluster.Cluster) {
	s := c.Space(t, "objects", "testdata/objects.yaml")
	s.Wanted(t)
	t.Run("downward", func(t *testing.T) { downward(t, s.For(t)) })
	t.Run("live", func(t *testing.T) { live(t, s.For(t)) })
	t.Run("token", func(t *testing.T) { token(t, s.For(t)) })
	t.Run("missing", func(t *testing.T) {
		s := s.For(t)
		s.Event("missing", "FailedMount", `MountVolume.SetUp failed for volume "a" : configmap "nothing" not found`)
		s.Event("missing-key", "FailedMount", `references non-existent secret key: nothing`)
		if w := s.Pod("missing").Status.ContainerStatuses; len(w) != 1 || w[0].State.Waiting == nil || w[0].State.Waiting.Reason != "ContainerCreating" {
			t.Errorf("status %+v", w)
		}
		// It starts as soon as there is what it waits for.
		s.Kubectl("create", "configmap", "nothing", "--from-literal=a=b")
		s.Ready("missing")
	})
	t.Run("immutable", func(t *testing.T) {
		s := s.For(t)
		if out, err := s.Try("patch", "configmap", "fixed", "-p", `{"data":{"k":"w"}}`); err == nil || !strings.Contains(out, "field is immutable when `immutable` is set") {
			t.Errorf("changing an immutable map: %v, %s", err, out)
		}
	})
}

func downward(t *testing.T, s *cluster.Space) {
	s.Ready("down")
	got := s.Exec("down", "c", "sh", "-c", "cd /v; for f in name labels cpu memory; do cat $f; echo; done; grep ^note notes; stat -L -c %A notes")
	if want := "down\napp=\"down\"\n1250\n33554432\nnote=\"a \\\"b\\\"\"\n-r--------\n"; got != want {
		t.Errorf("files:\n%s\nwant:\n%s", got, want)
	}
	s.Kubectl("label", "pod", "down", "new=label")
	shows(t, s, "down", "cat /v/labels", "app=\"down\"\nnew=\"label\"")
}

func live(t *testing.T, s *cluster.Space) {
	s.Ready("live")
	s.Kubectl("patch", "configmap", "map", "--type=json", `-p=[{"op":"replace","path":"/data/one","value":"11"},{"op":"remove","path":"/data/two"},{"op":"add","path":"/data/three","value":"3"}]`)
	s.Kubectl("patch", "secret", "secret", "-p", `{"stringData":{"password":"new"}}`)
	s.Kubectl("create", "configmap", "later", "--from-literal=late=yes")
	s.Kubectl("label", "pod", "live", "app=two", "--overwrite")
	for command, want := range map[string]string{
		"ls /map | tr '\\n' ' '; cat /map/one":                "bin one three 11",
		"cat /secret/password":                                "new",
		"cat /optional/late":                                  "yes",
		"ls /projected | tr '\\n' ' '; cat /projected/labels": "bin labels one three app=\"two\"",
	} {
		shows(t, s, "live", command, want)
	}
	if got := s.Exec("live", "c", "cat", "/file"); got != "1" {
		t.Errorf("a subPath followed its source: %q", got)
	}
	s.Kubectl("delete", "configmap", "later")
	shows(t, s, "live", "ls /optional", "")
}

// shows waits until a command in the pod prints what is wanted: content follows
// its source after a moment of which no event tells.
func shows(t *testing.T, s *cluster.Space, pod, command, want string) {
	t.Helper()
	cluster.Until(t, func() error {
		if out, err := s.TryExec(pod, "c", "sh", "-c", command); strings.TrimSpace(out) != want {
			return fmt.Errorf("%s printed %q (%v), want %q", command, out, err, want)
		}
		return nil
	})
}

// token asks the API server who the mounted token is.
func token(t *testing.T, s *cluster.Space) {
	s.Ready("live")
	raw := s.Exec("live", "c", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
	review, err := s.Client.AuthenticationV1().TokenReviews().Create(context.Background(), &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: raw},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	user := review.Status.User
	if !review.Status.Authenticated || user.Username != "system:serviceaccount:objects:default" || len(user.Extra["authentication.kubernetes.io/pod-name"]) == 0 {
		t.Errorf("the token is %+v (%s)", review.Status, review.Status.Error)
	}
	if ns := s.Exec("live", "c", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/namespace"); ns != "objects" {
		t.Errorf("the namespace file holds %q", ns)
	}
}

func paths(t *testing.T, c *cluster.Cluster) {
	s := c.Space(t, "paths", "testdata/paths.yaml")
	s.Wanted(t)
	for _, name := range []string{"escape", "escape-relative"} {
		t.Run(name, func(t *testing.T) {
			s := s.For(t)
			pod := s.When(name, "decided", func(p *corev1.Pod) bool {
				state := cluster.Container(p, "c").State
				return state.Terminated != nil || state.Waiting != nil && state.Waiting.Reason == "CreateContainerConfigError"
			})
			if state := cluster.Container(pod, "c").State; state.Terminated != nil && state.Terminated.ExitCode == 0 {
				t.Errorf("a subPath led out of its volume: %q", s.Log(name, "c"))
			}
		})
	}
}
