// Demo is `make demo`: it starts a cluster on this machine, deploys
// examples/hello, calls it in three ways, and prints each step with its
// duration. It uses nothing but bin/skiff and plain HTTP.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"
)

const binary = "bin/skiff"

// step is one line of the demo.
type step struct {
	what string
	do   func(context.Context) (string, error)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, s := range steps() {
		began := time.Now()
		said, err := s.do(ctx)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%-52s FAILED: %v\n%s\n", s.what, err, said)
			os.Exit(1)
		}
		fmt.Printf("%-52s %8s  %s\n", s.what, time.Since(began).Round(time.Millisecond), said)
	}
	fmt.Printf(`
The cluster goes on. To look around:
  bin/skiff status
  bin/skiff kubectl get pods -o wide
  bin/skiff anatomy pod/%s
  export KUBECONFIG=%s        # for your own kubectl or Helm
To stop it: bin/skiff down      To remove every trace: bin/skiff down --purge
`, firstPod(ctx), kubeconfigPath())
}

// steps lists the demo in order.
func steps() []step {
	return []step{
		{"start a cluster", up},
		{"deploy examples/hello (3 replicas, a Service)", skiff("kubectl", "apply", "-f", "examples/hello")},
		{"wait until all replicas are Ready", skiff("kubectl", "rollout", "status", "deployment/hello", "--timeout=60s")},
		{"call the Service by its cluster IP, from the host", callClusterIP},
		{"call it by its DNS name, from inside a pod", callByName},
		{"call it by its node port, on the host's localhost", callNodePort},
	}
}

func up(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, binary, "up", "--detach")
	cmd.Stderr = os.Stderr
	return "", cmd.Run()
}

func run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, binary, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return text, fmt.Errorf("skiff %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return text, nil
}

// skiff makes a step of one command; its last line is shown.
func skiff(args ...string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		out, err := run(ctx, args...)
		lines := strings.Split(out, "\n")
		return lines[len(lines)-1], err
	}
}

// serviceField reads one field of the Service.
func serviceField(ctx context.Context, path string) (string, error) {
	return run(ctx, "kubectl", "get", "service", "hello", "-o", "jsonpath={"+path+"}")
}

func callClusterIP(ctx context.Context) (string, error) {
	ip, err := serviceField(ctx, ".spec.clusterIP")
	if err != nil {
		return "", err
	}
	return get(ctx, "http://"+ip+"/")
}

func callNodePort(ctx context.Context) (string, error) {
	port, err := serviceField(ctx, ".spec.ports[0].nodePort")
	if err != nil {
		return "", err
	}
	return get(ctx, "http://127.0.0.1:"+port+"/")
}

func callByName(ctx context.Context) (string, error) {
	out, err := run(ctx, "kubectl", "exec", "deployment/hello", "--", "/hello", "get", "http://hello.default.svc.cluster.local/")
	return firstLine(out), err
}

// get calls a URL once: a Service that is ready answers the first call.
func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %s", url, response.Status)
	}
	return url + " says: " + firstLine(string(body)), err
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

func firstPod(ctx context.Context) string {
	name, err := run(ctx, "kubectl", "get", "pods", "-l", "app.kubernetes.io/name=hello", "-o", "jsonpath={.items[0].metadata.name}")
	if err != nil {
		return "NAME"
	}
	return name
}

func kubeconfigPath() string {
	if path := os.Getenv("SKIFF_KUBECONFIG"); path != "" {
		return path
	}
	return "/etc/skiff/kubeconfig.yaml"
}
