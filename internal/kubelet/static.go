package kubelet

import (
	"context"
	"crypto/md5" //nolint:gosec // an identifier, as upstream makes it; nothing relies on its strength
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// staticPods runs the pods whose manifests lie in a directory, without asking
// the API server. For each it keeps a mirror pod there, so that they can be
// seen; deleting the mirror does not end the pod, removing the file does.
type staticPods struct {
	k *Kubelet

	mu    sync.Mutex
	files map[string]*v1.Pod // by file name
	// mirrors are the mirror pods that were seen, by the static pod's UID.
	mirrors map[types.UID]*v1.Pod
}

// manifestLimit bounds a manifest's size.
const manifestLimit = 3 << 20

func newStaticPods(k *Kubelet) *staticPods {
	return &staticPods{k: k, files: map[string]*v1.Pod{}, mirrors: map[types.UID]*v1.Pod{}}
}

func isStatic(pod *v1.Pod) bool {
	return pod.Annotations[configSource] == "file"
}

// Annotations of static pods, as upstream.
const (
	configSource = "kubernetes.io/config.source"
	configHash   = "kubernetes.io/config.hash"
	configSeen   = "kubernetes.io/config.seen"
)

// load reads the directory and brings the set of static pods up to date.
func (s *staticPods) load() {
	if s.k.deps.StaticPodDir == "" {
		return
	}
	entries, err := os.ReadDir(s.k.deps.StaticPodDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.k.log.Warn("reading static pods", "err", err)
		return
	}
	found := map[string]bool{}
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() || strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") {
			continue
		}
		found[name] = true
		s.loadFile(name)
	}
	s.mu.Lock()
	var gone []*v1.Pod
	for name, pod := range s.files {
		if !found[name] {
			gone = append(gone, pod)
			delete(s.files, name)
		}
	}
	s.mu.Unlock()
	for _, pod := range gone {
		s.remove(pod)
	}
}

func (s *staticPods) loadFile(name string) {
	pod, err := readManifest(filepath.Join(s.k.deps.StaticPodDir, name), s.k.deps.NodeName)
	if err != nil {
		s.k.log.Warn("reading static pod", "file", name, "err", err)
		return // a broken file changes nothing: what ran before goes on
	}
	s.mu.Lock()
	old := s.files[name]
	if old != nil && old.UID == pod.UID {
		s.mu.Unlock()
		return
	}
	s.files[name] = pod
	s.mu.Unlock()
	if old != nil {
		s.remove(old)
	}
	s.k.admission.coming(pod.UID)
	s.k.ensureWorker(pod.UID).tell(func(i *inbox) { i.pod = pod })
	go s.mirror(pod)
}

func (s *staticPods) remove(pod *v1.Pod) {
	if w := s.k.worker(pod.UID); w != nil {
		w.tell(func(i *inbox) { i.removed = true })
	}
	s.mu.Lock()
	mirror := s.mirrors[pod.UID]
	s.mu.Unlock()
	if mirror != nil {
		go s.deleteMirror(mirror)
	}
}

// readManifest reads one manifest and makes it this node's.
func readManifest(path, node string) (*v1.Pod, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, manifestLimit))
	if err != nil {
		return nil, fmt.Errorf("reading manifest %s: %w", path, err)
	}
	pod := &v1.Pod{}
	if err := yaml.UnmarshalStrict(raw, pod); err != nil {
		return nil, fmt.Errorf("parsing manifest %s: %w", path, err)
	}
	if pod.Kind != "Pod" || pod.Name == "" || len(pod.Spec.Containers) == 0 {
		return nil, fmt.Errorf("parsing manifest %s: it must be a Pod with a name and containers", path)
	}
	makeStatic(pod, raw, node)
	return pod, nil
}

// makeStatic names the pod after the node and gives it an identifier that
// follows from the file, the same after each start of skiff.
func makeStatic(pod *v1.Pod, raw []byte, node string) {
	sum := md5.Sum(fmt.Appendf(nil, "%s\x00%s", node, raw)) //nolint:gosec // see the import
	hash := hex.EncodeToString(sum[:])
	pod.UID = types.UID(hash)
	pod.Name += "-" + strings.ToLower(node)
	if pod.Namespace == "" {
		pod.Namespace = v1.NamespaceDefault
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[configSource] = "file"
	pod.Annotations[configHash] = hash
	pod.Annotations[configSeen] = time.Now().Format(time.RFC3339Nano)
	pod.Spec.NodeName = node
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, v1.Toleration{Operator: v1.TolerationOpExists, Effect: v1.TaintEffectNoExecute})
	defaultPod(pod)
}

// watch follows the directory until ctx ends. Where there is no directory yet,
// its parent is watched for it.
func (s *staticPods) watch(ctx context.Context) {
	dir := s.k.deps.StaticPodDir
	if dir == "" {
		return
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		s.k.log.Warn("watching static pods", "err", err)
		return
	}
	defer watcher.Close()
	s.follow(watcher, dir)
	s.load()
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-watcher.Events:
			if !ok {
				return
			}
			s.follow(watcher, dir)
			s.load()
		case err := <-watcher.Errors:
			s.k.log.Warn("watching static pods", "err", err)
			s.load()
		}
	}
}

// follow watches the directory, or the nearest one above it that exists.
func (s *staticPods) follow(watcher *fsnotify.Watcher, dir string) {
	for at := dir; ; at = filepath.Dir(at) {
		if watcher.Add(at) == nil || at == filepath.Dir(at) {
			return
		}
	}
}
