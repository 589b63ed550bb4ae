package kubelet

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// capacity knows what the node has. It is read once, at the start: processors
// and memory that come and go are found at the next one.
type capacity struct {
	dataDir string
	maxPods int

	mu     sync.Mutex
	total  v1.ResourceList
	object *v1.Node
}

// evictionReserve is what of the memory is not handed out, so that the kernel
// does not run out of it before the node agent can act (upstream:
// memory.available<100Mi).
const evictionReserve = 100 << 20

func newCapacity(d Deps) *capacity {
	c := &capacity{dataDir: d.DataDir, maxPods: d.MaxPods}
	c.total = c.read()
	return c
}

// read measures the node.
func (c *capacity) read() v1.ResourceList {
	list := v1.ResourceList{
		v1.ResourceCPU:    *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
		v1.ResourceMemory: *resource.NewQuantity(memInfo("MemTotal"), resource.BinarySI),
		v1.ResourcePods:   *resource.NewQuantity(int64(c.maxPods), resource.DecimalSI),
	}
	if size, _, ok := diskSpace(c.dataDir); ok {
		list[v1.ResourceEphemeralStorage] = *resource.NewQuantity(size, resource.BinarySI)
	}
	for size, count := range hugepages() {
		name := v1.ResourceName(v1.ResourceHugePagesPrefix + resource.NewQuantity(size, resource.BinarySI).String())
		list[name] = *resource.NewQuantity(size*count, resource.BinarySI)
	}
	return list
}

// allocatable is what pods may ask for.
func (c *capacity) allocatable() v1.ResourceList {
	list := c.total.DeepCopy()
	memory := list[v1.ResourceMemory]
	reserved := int64(evictionReserve)
	for name, amount := range list {
		if strings.HasPrefix(string(name), v1.ResourceHugePagesPrefix) {
			reserved += amount.Value()
		}
	}
	if memory.Value() > reserved {
		list[v1.ResourceMemory] = *resource.NewQuantity(memory.Value()-reserved, resource.BinarySI)
	}
	if disk, ok := list[v1.ResourceEphemeralStorage]; ok {
		// A tenth stays free (upstream: nodefs.available<10%).
		list[v1.ResourceEphemeralStorage] = *resource.NewQuantity(disk.Value()/10*9, resource.BinarySI)
	}
	return list
}

func (c *capacity) memory() int64 {
	m := c.total[v1.ResourceMemory]
	return m.Value()
}

// node is the node's object as it was last seen, with labels and taints that
// others set.
func (c *capacity) node() *v1.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.object
}

func (c *capacity) setNode(n *v1.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.object = n
}

// memInfo is a line of /proc/meminfo in bytes.
func memInfo(key string) int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		if fields := strings.Fields(rest); name == key && len(fields) > 0 {
			n, err := strconv.ParseInt(fields[0], 10, 64)
			if err != nil {
				return 0
			}
			return n << 10
		}
	}
	return 0
}

// diskSpace is the size and the free space in bytes of the file system that a
// path is on, or would be.
func diskSpace(path string) (size, free int64, ok bool) {
	var st unix.Statfs_t
	for unix.Statfs(path, &st) != nil {
		up := filepath.Dir(path)
		if up == path {
			return 0, 0, false
		}
		path = up
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize, true
}

// hugepages counts the reserved huge pages by their size in bytes. Sizes with
// none reserved are listed too, as upstream does.
func hugepages() map[int64]int64 {
	found := map[int64]int64{}
	dirs, err := filepath.Glob("/sys/kernel/mm/hugepages/hugepages-*kB")
	if err != nil {
		return found
	}
	for _, dir := range dirs {
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(dir), "hugepages-"), "kB"), 10, 64)
		if err != nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, "nr_hugepages"))
		if err != nil {
			continue
		}
		count, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err == nil {
			found[kb<<10] = count
		}
	}
	return found
}
