// Package kubectl uses skiff as the users of kubectl do, and as the programs do
// that are written with Kubernetes' client libraries.
package kubectl

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

//go:embed web.yaml
var web string

func TestKubectl(t *testing.T) {
	c := cluster.Start(t)
	c.ImportDebian("kubectl/busybox:1", "busybox")
	manifest := filepath.Join(c.Dir, "web.yaml")
	if err := os.WriteFile(manifest, []byte(web), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Kubectl("apply", "-f", manifest)
	c.Kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	t.Run("each command says what kubectl says", func(t *testing.T) { table(t, c, manifest) })
	t.Run("describe has upstream's sections", func(t *testing.T) { describes(t, c) })
	t.Run("logs", func(t *testing.T) { logs(t, c) })
	t.Run("exec passes streams and exit codes", func(t *testing.T) { execs(t, c) })
	t.Run("a terminal", func(t *testing.T) { terminals(t, c) })
	t.Run("port-forward", func(t *testing.T) { forwards(t, c) })
	t.Run("cp both ways", func(t *testing.T) { copies(t, c) })
	t.Run("debug", func(t *testing.T) { debugs(t, c) })
	t.Run("cordon, drain and taint", func(t *testing.T) { drains(t, c) })
}

// table runs commands in order; each has to end with the exit code and print,
// on stdout and stderr together, nothing but what matches.
func table(t *testing.T, c *cluster.Cluster, manifest string) {
	for _, step := range []struct {
		args string
		code int
		want string
	}{
		{"apply -f FILE", 0, `deployment.apps/web unchanged\nservice/web unchanged\n`},
		{"diff -f FILE", 0, ``},
		{"apply --server-side -f FILE", 0, `deployment.apps/web serverside-applied\nservice/web serverside-applied\n`},
		{"create -f FILE", 1, `Error from server \(AlreadyExists\): (?s:.*)`},
		{"get pods -o name", 0, `(pod/web-[a-z0-9]+-[a-z0-9]+\n){2}`},
		{"get deployment web --no-headers", 0, `web +2/2 +2 +2 +\d+s\n`},
		{"get svc web -o jsonpath={.spec.type}", 0, `ClusterIP`},
		{"get nothing", 1, `error: the server doesn't have a resource type "nothing"\n`},
		{"get pod nope", 1, `Error from server \(NotFound\): pods "nope" not found\n`},
		{"get pods -n empty", 0, `No resources found in empty namespace.\n`},
		{"label deploy web tier=front", 0, `deployment.apps/web labeled\n`},
		{"annotate deploy web note=1", 0, `deployment.apps/web annotated\n`},
		{`patch deploy web -p {"spec":{"replicas":3}}`, 0, `deployment.apps/web patched\n`},
		{`patch deploy web --type=merge -p {"spec":{"replicas":1}}`, 0, `deployment.apps/web patched\n`},
		{`patch deploy web --type=json -p [{"op":"replace","path":"/spec/replicas","value":2}]`, 0, `deployment.apps/web patched\n`},
		{"scale deploy/web --current-replicas=9 --replicas=1", 1, `error: Expected replicas to be 9, was 2\n`},
		{"scale deploy/web --replicas=2", 0, `deployment.apps/web scaled\n`},
		{"set env deploy/web A=2", 0, `deployment.apps/web env updated\n`},
		{"rollout status deploy/web --timeout=60s", 0, `(Waiting for .*\n)*deployment "web" successfully rolled out\n`},
		{"rollout history deploy/web", 0, `deployment.apps/web \nREVISION  CHANGE-CAUSE\n1 +<none>\n2 +<none>\n\n`},
		{"rollout pause deploy/web", 0, `deployment.apps/web paused\n`},
		{"rollout undo deploy/web", 1, `(Warning: .*\n)?error: you cannot rollback a paused deployment; .*\n`},
		{"rollout resume deploy/web", 0, `deployment.apps/web resumed\n`},
		{"rollout undo deploy/web --to-revision=1", 0, `(Warning: .*\n)?deployment.apps/web rolled back\n`},
		{"rollout restart deploy/web", 0, `deployment.apps/web restarted\n`},
		{"rollout status deploy/web --timeout=60s", 0, `(Waiting for .*\n)*deployment "web" successfully rolled out\n`},
		{"expose deploy web --name=shown --port=80 --target-port=8080 --type=NodePort", 0, `service/shown exposed\n`},
		{"create configmap c1 --from-literal=a=b", 0, `configmap/c1 created\n`},
		{"create secret generic s1 --from-literal=a=b", 0, `secret/s1 created\n`},
		{"create serviceaccount sa1", 0, `serviceaccount/sa1 created\n`},
		{"create token sa1", 0, `eyJ[\w-]+\.[\w-]+\.[\w-]+\n?`},
		{"create service nodeport sv1 --tcp=80:8080", 0, `service/sv1 created\n`},
		{"create namespace n1", 0, `namespace/n1 created\n`},
		{"wait --for=condition=Available deploy/web --timeout=30s", 0, `deployment.apps/web condition met\n`},
		{"wait --for=condition=Never deploy/web --timeout=1s", 1, `error: timed out waiting for the condition on deployments/web\n`},
		{"explain svc.spec.type", 0, `KIND: +Service\nVERSION: +v1\n\nFIELD: type <string>\nENUM:\n(?s:.*)`},
		{"auth can-i delete nodes", 0, `(Warning: .*\n\n)?yes\n`},
		{"auth can-i list pods --as=system:serviceaccount:default:default", 1, `no\n`},
		{"auth whoami -o jsonpath={.status.userInfo.groups[0]}", 0, `system:masters`},
		{"top pod", 1, `error: Metrics API not available\n`},
		{"version", 0, `Client Version: v1\.36\.\d+\nKustomize Version: .*\nServer Version: v1\.36\..*\n`},
		{"api-versions", 0, `apps/v1\n(.*\n)*v1\n`},
		{"cluster-info", 0, `.*control plane.* is running at .*https://.*\n(?s:.*)`},
		{"delete svc shown sv1", 0, `service "shown" deleted from default namespace\nservice "sv1" deleted from default namespace\n`},
		{"delete ns n1", 0, `namespace "n1" deleted\n`},
		{"delete pod nope", 1, `Error from server \(NotFound\): pods "nope" not found\n`},
		{"delete pod nope --ignore-not-found", 0, ``},
	} {
		args := strings.Fields(strings.ReplaceAll(step.args, "FILE", manifest))
		cmd := c.Command("kubectl", args...)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != step.code || !regexp.MustCompile(`\A`+step.want+`\z`).Match(out) {
			t.Errorf("kubectl %s: exit code %d, want %d\n%s\nwant %s", step.args, code, step.code, out, step.want)
		}
	}
	edit := c.Command("kubectl", "edit", "configmap", "c1")
	edit.Env = append(os.Environ(), "KUBE_EDITOR=sed -i s/a:.b/a:\\ edited/")
	if out, err := edit.CombinedOutput(); err != nil || string(out) != "configmap/c1 edited\n" || c.Kubectl("get", "cm", "c1", "-o", "jsonpath={.data.a}") != "edited" {
		t.Errorf("edit: %v, %s", err, out)
	}
}

func describes(t *testing.T, c *cluster.Cluster) {
	for what, sections := range map[string]string{
		"deployment web":           "Name Namespace CreationTimestamp Labels Annotations Selector Replicas StrategyType MinReadySeconds RollingUpdateStrategy Pod_Template Conditions OldReplicaSets NewReplicaSet Events",
		"replicaset":               "Name Namespace Selector Labels Annotations Controlled_By Replicas Pods_Status Pod_Template",
		"pod -l app=web":           "Name Namespace Priority Service_Account Node Start_Time Labels Annotations Status IP IPs Controlled_By Containers Conditions Volumes QoS_Class Node-Selectors Tolerations",
		"service web":              "Name Namespace Labels Annotations Selector Type IP_Family_Policy IP_Families IP IPs Port TargetPort Endpoints Session_Affinity Internal_Traffic_Policy Events",
		"node":                     "Name Roles Labels Annotations CreationTimestamp Taints Unschedulable Lease Conditions Addresses Capacity Allocatable System_Info PodCIDR Non-terminated_Pods Allocated_resources Events",
		"endpointslice":            "Name Namespace Labels Annotations AddressType Ports Endpoints",
		"configmap c1":             "Name Namespace Labels Annotations Data",
		"secret s1":                "Name Namespace Labels Annotations Type Data",
		"serviceaccount default":   "Name Namespace Labels Annotations",
		"namespace default":        "Name Labels Annotations Status",
		"lease -n kube-node-lease": "Name Namespace Labels Annotations API_Version Kind Metadata Spec Events",
	} {
		out := "\n" + c.Kubectl(append([]string{"describe"}, strings.Fields(what)...)...)
		for section := range strings.FieldsSeq(sections) {
			if name := strings.ReplaceAll(section, "_", " "); !strings.Contains(out, "\n"+name+":") && !strings.Contains(out, "\n"+name+"\n") {
				t.Errorf("describe %s has no %s:\n%s", what, name, out)
			}
		}
	}
}

const talker = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"talker","labels":{"app":"talker"}},"spec":{"terminationGracePeriodSeconds":0,"containers":[
 {"name":"main","image":"kubectl/busybox:1","command":["sh","-c","if [ -f /tmp/again/x ]; then echo second; sleep 1000; fi; touch /tmp/again/x; for i in 1 2 3 4 5; do echo line $i; done; exit 3"],"volumeMounts":[{"name":"v","mountPath":"/tmp/again"}]},
 {"name":"side","image":"kubectl/busybox:1","command":["sh","-c","echo side; sleep 1000"]}],"volumes":[{"name":"v","emptyDir":{}}]}}`

// sorted puts lines in order: those of several containers come in any.
func sorted(text string) string {
	return strings.Join(slices.Sorted(strings.Lines(text)), "")
}

func logs(t *testing.T, c *cluster.Cluster) {
	c.Apply(talker)
	c.WaitFor(`jsonpath={.status.containerStatuses[?(@.name=="main")].restartCount}=1`, "pod/talker")
	c.WaitFor("condition=Ready", "pod/talker")
	for args, want := range map[string]string{
		"talker -c main --previous":                        "line 1\nline 2\nline 3\nline 4\nline 5\n",
		"talker -c main -p --tail=2":                       "line 4\nline 5\n",
		"talker -c main -p --tail=0":                       "",
		"talker -c main -p --limit-bytes=6":                "line 1",
		"talker -c main":                                   "second\n",
		"talker -c main --since=1h":                        "second\n",
		"talker -c main --since-time=2100-01-01T00:00:00Z": "",
		"-l app=talker --all-containers --prefix":          "[pod/talker/main] second\n[pod/talker/side] side\n",
		"talker --all-containers --max-log-requests=2":     "second\nside\n",
	} {
		if out := c.Kubectl(append([]string{"logs"}, strings.Fields(args)...)...); sorted(out) != want {
			t.Errorf("logs %s: %q, want %q", args, out, want)
		}
	}
	if out := c.Kubectl("logs", "talker", "-c", "side", "--timestamps"); !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z side\n$`).MatchString(out) {
		t.Errorf("logs --timestamps: %q", out)
	}
	follow := c.Command("kubectl", "logs", "-f", "talker", "-c", "side")
	out, err := follow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, len("side\n"))
	if _, err := io.ReadFull(out, line); err != nil || string(line) != "side\n" {
		t.Errorf("logs -f: %v, %q", err, line)
	}
	c.Kubectl("delete", "pod", "talker")
	if rest, err := io.ReadAll(out); err != nil || len(rest) > 0 {
		t.Errorf("logs -f until the pod's end: %v, %q", err, rest)
	}
	if err := follow.Wait(); err != nil {
		t.Errorf("logs -f until the pod's end: %v", err)
	}
}

func execs(t *testing.T, c *cluster.Cluster) {
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -9 $$": 137} {
		cmd := c.Command("kubectl", "exec", "deploy/web", "--", "sh", "-c", script)
		_ = cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != want {
			t.Errorf("exec of %q ends with %d, want %d", script, code, want)
		}
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), 256<<10)
	cmd := c.Command("kubectl", "exec", "-i", "deploy/web", "--", "cat")
	cmd.Stdin = bytes.NewReader(data)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if out, err := cmd.Output(); err != nil || !bytes.Equal(out, data) || stderr.Len() > 0 {
		t.Errorf("4 MiB through cat: %v, %d bytes, %s", err, len(out), stderr.String())
	}
	if out, err := c.Try("kubectl", "exec", "deploy/web", "--", "nosuch"); err == nil || !strings.Contains(out, `"nosuch": executable file not found in $PATH`) {
		t.Errorf("exec of a missing program: %v, %s", err, out)
	}
}

// forwarding starts a port-forward and returns its local address.
func forwarding(t *testing.T, c *cluster.Cluster, args ...string) (string, *exec.Cmd) {
	t.Helper()
	cmd := c.Command("kubectl", append([]string{"port-forward"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	buf := make([]byte, 4096)
	n, _ := out.Read(buf)
	found := regexp.MustCompile(`127\.0\.0\.1:\d+`).Find(buf[:n])
	if found == nil {
		t.Fatalf("port-forward says %q", buf[:n])
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return string(found), cmd
}

func forwards(t *testing.T, c *cluster.Cluster) {
	for _, what := range []string{"service/web", "deployment/web"} {
		port := map[string]string{"service/web": ":80", "deployment/web": ":8080"}[what]
		address, _ := forwarding(t, c, what, port)
		results := make(chan error, 20)
		for range cap(results) {
			go func() {
				response, err := http.Get("http://" + address + "/")
				if err == nil {
					_, err = io.Copy(io.Discard, response.Body)
					response.Body.Close()
				}
				results <- err
			}()
		}
		for range cap(results) {
			if err := <-results; err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}

func copies(t *testing.T, c *cluster.Cluster) {
	pod, _, _ := strings.Cut(strings.TrimPrefix(c.Kubectl("get", "pods", "-l", "app=web", "--field-selector=status.phase=Running", "-o", "name"), "pod/"), "\n")
	dir := t.TempDir()
	data := bytes.Repeat([]byte("skiff\n"), 500_000)
	if err := os.MkdirAll(filepath.Join(dir, "there/deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "there/deep/file"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	c.Kubectl("cp", dir+"/there", pod+":/tmp/there")
	c.Kubectl("cp", pod+":/tmp/there", dir+"/back")
	if got, err := os.ReadFile(dir + "/back/deep/file"); err != nil || !bytes.Equal(got, data) {
		t.Errorf("what came back: %v, %d bytes", err, len(got))
	}
}

func debugs(t *testing.T, c *cluster.Cluster) {
	c.Apply(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"quiet"},"spec":{"containers":[{"name":"main","image":"skiff.dev/hello:1"}]}}`)
	c.WaitFor("condition=Ready", "pod/quiet")
	cmd := c.Command("kubectl", "debug", "-i", "quiet", "--image=kubectl/busybox:1", "--target=main", "--profile=general", "-q", "--", "sh")
	// The end of its input would not end the shell: kubectl debug leaves stdin open.
	cmd.Stdin = strings.NewReader("cat /proc/1/cmdline; wget -qO- 127.0.0.1:8080; exit\n")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "/hello") || !strings.Contains(string(out), "quiet") {
		t.Errorf("debug: %v, %s", err, out)
	}
	c.Kubectl("delete", "pod", "quiet", "--now")
}

func drains(t *testing.T, c *cluster.Cluster) {
	node := strings.TrimSpace(c.Kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"))
	c.Kubectl("taint", "node", node, "a=b:NoSchedule")
	c.Kubectl("taint", "node", node, "a-")
	c.Kubectl("drain", node, "--timeout=60s", "--force")
	if out := c.Kubectl("get", "node", node, "--no-headers"); !strings.Contains(out, "Ready,SchedulingDisabled") {
		t.Errorf("a drained node is %s", out)
	}
	cluster.Until(t, func() error {
		if out := c.Kubectl("get", "pods", "-o", "jsonpath={.items[*].status.phase}"); strings.Contains(out, "Running") {
			return fmt.Errorf("pods still run: %s", out)
		}
		return nil
	})
	c.Kubectl("uncordon", node)
	c.Kubectl("rollout", "status", "deployment/web", "--timeout=60s")
}
