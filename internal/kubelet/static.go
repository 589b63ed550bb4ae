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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// mirror makes the mirror pod of a static pod.
func (s *staticPods) mirror(pod *v1.Pod) {
	want := pod.DeepCopy()
	want.UID, want.ResourceVersion = "", ""
	want.Annotations[v1.MirrorPodAnnotationKey] = string(pod.UID)
	if node := s.k.capacity.node(); node != nil {
		yes := true
		want.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID, Controller: &yes}}
	}
	pods := s.k.deps.Client.CoreV1().Pods(pod.Namespace)
	again := retry{first: 200 * time.Millisecond, limit: 30 * time.Second}
	for s.wanted(pod.UID) && s.k.ctx.Err() == nil {
		_, err := pods.Create(s.k.ctx, want, metav1.CreateOptions{})
		if err == nil {
			return
		}
		if apierrors.IsAlreadyExists(err) {
			if s.clearName(pod) {
				return
			}
		} else {
			s.k.log.Warn("making mirror pod", "pod", podName(pod), "err", err)
		}
		select {
		case <-time.After(again.next()):
		case <-s.k.ctx.Done():
		}
	}
}

// clearName looks at the object that has the mirror's name. It reports whether
// that is the right mirror; a mirror of an older file is deleted.
func (s *staticPods) clearName(pod *v1.Pod) bool {
	have, err := s.k.deps.Client.CoreV1().Pods(pod.Namespace).Get(s.k.ctx, pod.Name, metav1.GetOptions{})
	if err != nil {
		return false
	}
	of, isMirror := have.Annotations[v1.MirrorPodAnnotationKey]
	if isMirror && of == string(pod.UID) && have.DeletionTimestamp == nil {
		return true
	}
	if isMirror {
		s.deleteMirror(have)
	}
	return false
}

func (s *staticPods) wanted(uid types.UID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pod := range s.files {
		if pod.UID == uid {
			return true
		}
	}
	return false
}

// behind is the static pod behind a mirror pod, or nil. It carries the mirror's
// status.
func (s *staticPods) behind(mirror *v1.Pod) *v1.Pod {
	uid, ok := mirror.Annotations[v1.MirrorPodAnnotationKey]
	if !ok {
		return nil
	}
	pod := mirror.DeepCopy()
	pod.UID = types.UID(uid)
	return pod
}

// mirrorSeen takes in a mirror pod: statuses go to it. One that is being deleted,
// or whose static pod is gone, is taken away; the pod itself does not notice.
func (s *staticPods) mirrorSeen(mirror *v1.Pod) {
	uid := types.UID(mirror.Annotations[v1.MirrorPodAnnotationKey])
	if mirror.DeletionTimestamp != nil || !s.wanted(uid) {
		go s.deleteMirror(mirror)
		return
	}
	s.mu.Lock()
	s.mirrors[uid] = mirror
	s.mu.Unlock()
	s.k.statuses.seen(uid, mirror)
	if w := s.k.worker(uid); w != nil {
		w.tell(func(*inbox) {})
	}
}

func (s *staticPods) mirrorGone(mirror *v1.Pod) {
	uid := types.UID(mirror.Annotations[v1.MirrorPodAnnotationKey])
	s.mu.Lock()
	delete(s.mirrors, uid)
	var pod *v1.Pod
	for _, p := range s.files {
		if p.UID == uid {
			pod = p
		}
	}
	s.mu.Unlock()
	s.k.statuses.forget(uid)
	if pod != nil {
		go s.mirror(pod)
	}
}

func (s *staticPods) deleteMirror(mirror *v1.Pod) {
	if err := s.k.statuses.delete(mirror); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		s.k.log.Warn("deleting mirror pod", "pod", podName(mirror), "err", err)
	}
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
